/** MXFP4 rounded to nearest, with a factor per segment: a wire format of gradients. */
import type { Pointer } from "./arena.ts";
import { checkAligned, checkMultiple } from "./check.ts";
import type { NoiseKey } from "./noise.ts";
import { kernels } from "./runtime.ts";

/** Values that share a factor. */
const EDEN_SEGMENT = 64;

/** Pointers to the parts of `length` encoded values. */
export type EdenParts = {
  /** u8 [length / 2], even index in the low nibble. */
  elements: Pointer;
  /** u8 [length / 32]. */
  scales: Pointer;
  /** u8 [length / 64]. */
  factors: Pointer;
};

/**
 * Quantizes `input`, f32 [length], 16-byte aligned and already rotated, by Algorithm 1, with ⟨x, x⟩ / ⟨x, Q(x)⟩ of
 * each segment, rounded stochastically with `key`. `firstElement` is the position of the first element in the whole
 * vector, a multiple of 64.
 */
export function quantizeEdenMxfp4(
  { elements, scales, factors }: EdenParts,
  input: Pointer,
  length: number,
  key: NoiseKey,
  firstElement: number,
): void {
  checkMultiple("length", length, EDEN_SEGMENT);
  checkMultiple("firstElement", firstElement, EDEN_SEGMENT);
  checkAligned("input", input);
  kernels().exports.quantizeEdenMxfp4(
    elements,
    scales,
    factors,
    input,
    length,
    key[0],
    key[1],
    firstElement / EDEN_SEGMENT,
  );
}

/** Dequantizes, including the factors. out f32 [length], 16-byte aligned. */
export function dequantizeEdenMxfp4(
  out: Pointer,
  { elements, scales, factors }: EdenParts,
  length: number,
): void {
  checkMultiple("length", length, EDEN_SEGMENT);
  checkAligned("out", out);
  kernels().exports.dequantizeEdenMxfp4(out, elements, scales, factors, length);
}
