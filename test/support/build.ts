/** Before any test: what tests import and serve is as its sources say. */
import { ensureBuilt } from "../../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../../src/scripts/build/targets.ts";

export default async function setup(): Promise<void> {
  await ensureBuilt(...Object.values(BUILD_TARGETS));
}
