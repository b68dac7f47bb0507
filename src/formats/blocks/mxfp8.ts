/** MXFP8: elements of E4M3 or E5M2, one a byte. */
import {
  countMxfp8,
  dequantizeMxfp8,
  type Float8Type,
  quantizeMxfp8,
} from "../../kernels/mxfp8.ts";
import type { BlockFormat } from "./block-format.ts";

/**
 * A rotation is as useful as for MXFP4. The prescale 3/4 belongs to Algorithm 2 (E2M1's floor scale clips values from
 * 6 to 8), and ties toward zero to ggml, which has no MXFP8: both are refused.
 */
export function mxfp8(type: Float8Type, max: number): BlockFormat {
  return {
    elementBytes: 32,
    max,
    refusal({ rounding, prescale }) {
      if (prescale !== 1) return ["prescale=1", `${prescale}`];
      if (rounding === "nearest-zero")
        return ["rounding=nearest-even, nearest-away or stochastic", rounding];
      return undefined;
    },
    quantize({ elements, scales }, x, count, { rounding, scale, minScale }) {
      const quantizer = { rounding, scale, minScale };
      quantizeMxfp8(elements, scales, x, count, type, quantizer);
    },
    // `factor` is always 1 here, since it undoes a prescale.
    dequantize(out, { elements, scales }, count) {
      dequantizeMxfp8(out, elements, scales, count, type);
    },
    count(x, { elements, scales }, count) {
      return countMxfp8(x, elements, scales, count, type);
    },
  };
}
