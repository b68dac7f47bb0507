import type { Pointer } from "./arena.ts";
import { checkMultiple } from "./check.ts";
import { BLOCK_SIZE } from "./mx.ts";
import { kernels } from "./runtime.ts";

/** Bytes of a Q8_0 block of ggml: an f16 scale, then 32 elements of i8. */
export const Q8_BLOCK_BYTES = 34;

/**
 * Quantizes to Q8_0 blocks of ggml, rounding like ggml.
 *
 * Shapes:   out u8 [34 · length / 32]; x f32 [length]
 * Special:  a NaN or infinity gives its block scale NaN and elements 0
 */
export function quantizeQ8(out: Pointer, x: Pointer, length: number): void {
  checkMultiple("length", length, BLOCK_SIZE);
  kernels().exports.quantizeQ8(out, x, length);
}
