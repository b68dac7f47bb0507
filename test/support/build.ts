/**
 * Before any test: what tests import and serve is as its sources say. A command is started a thousand times: what it is
 * made of is compiled once, into a folder that goes when the tests have ended.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBuilt } from "../../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../../src/scripts/build/targets.ts";

export default async function setup(): Promise<() => void> {
  await ensureBuilt(...Object.values(BUILD_TARGETS));
  const compiled = mkdtempSync(join(tmpdir(), "mxfp4-compiled-"));
  process.env.NODE_COMPILE_CACHE = compiled;
  return () => rmSync(compiled, { recursive: true, force: true });
}
