/** MXFP4: elements of E2M1, two a byte, the even index in the low nibble. */
import {
  countMxfp4,
  dequantizeMxfp4,
  quantizeMxfp4,
} from "../../kernels/mxfp4.ts";
import type { BlockFormat } from "./block-format.ts";

export const MXFP4: BlockFormat = {
  elementBytes: 16,
  max: 6,
  refusal: () => undefined,
  quantize({ elements, scales }, x, count, scheme) {
    quantizeMxfp4(elements, scales, x, count, scheme);
  },
  dequantize(out, { elements, scales }, count, factor) {
    dequantizeMxfp4(out, elements, scales, count, factor);
  },
  count(x, { elements, scales }, count, prescale) {
    return countMxfp4(x, elements, scales, count, prescale);
  },
};
