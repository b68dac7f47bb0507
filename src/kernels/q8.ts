import type { Pointer } from "./arena.ts";
import { checkMultiple } from "./check.ts";
import { BLOCK_SIZE } from "./mx.ts";
import { kernels } from "./runtime.ts";

/** Bytes of one of ggml's blocks of Q8_0: a scale of f16, then 32 elements of i8. */
export const Q8_BLOCK_BYTES = 34;

/**
 * ggml's blocks of Q8_0, as its own quantizer rounds them.
 *
 * Shapes:   out u8 [34 · length / 32]; x f32 [length]
 * Special:  a NaN or infinity gives its block scale NaN and elements 0
 */
export function quantizeQ8(out: Pointer, x: Pointer, length: number): void {
  checkMultiple("length", length, BLOCK_SIZE);
  kernels().exports.quantizeQ8(out, x, length);
}
