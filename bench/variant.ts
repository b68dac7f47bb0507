/** Which form of the integer dot the MXFP4 products use (src/kernels/mxfp4-matmul.ts). */
import type { Kernels } from "../src/kernels/runtime.ts";

/** `vnni`: dots that accumulate by themselves; `i16`: pairs added in 16 bits. */
export const VARIANTS = ["vnni", "i16"] as const;
export type Variant = (typeof VARIANTS)[number];

/** What the probe of this machine chooses, unless `forced` answers in its place. */
export function chooseVariant(
  loaded: Kernels,
  forced: Variant | undefined,
): Variant {
  if (forced) {
    const { exports } = loaded;
    const accumulatesDots = () => Number(forced === "vnni");
    loaded.exports = { ...exports, accumulatesDots };
  }
  return loaded.exports.accumulatesDots() ? "vnni" : "i16";
}
