/**
 * The 8-bit elements of OCP MX v1.0 §5.3.1: sign, exponent, mantissa.
 *
 *          bits       bias  least normal  largest finite         beyond it
 *   E4M3   1 + 4 + 3     7  2^−6          448 = 1.75 · 2^8       0x7f NaN; no infinity
 *   E5M2   1 + 5 + 2    15  2^−14         57344 = 1.75 · 2^15    0x7c infinity, 0x7d … 0x7f NaN
 *
 * The kernels for both differ only in constants, which are in one table each: v128 in memory, at the offsets below.
 * (V8 rebuilds a v128 constant from immediates at each use, and a load is cheaper.)
 */
// @ts-ignore: decorator
@inline export const E4M3: i32 = 0;
// @ts-ignore: decorator
@inline export const E5M2: i32 = 1;

/** The mantissa of both types' largest finite value, as f32 bits. */
// @ts-ignore: decorator
@inline export const MAX_MANTISSA: i32 = 0x600000;

/** Offsets in a table. The least normal value, f32. */
// @ts-ignore: decorator
@inline export const LEAST_NORMAL: usize = 0;
/**
 * The bits of 1.5 · 2^(23 − mantissa bits) minus those of 1: added to a binade's bits, a number that rounds to
 * nearest.
 */
// @ts-ignore: decorator
@inline export const STEP_ROUND: usize = 16;
/** Subtracted from a binade's bits, gives half of its step. */
// @ts-ignore: decorator
@inline export const HALF_STEP: usize = 32;
/** i16: 32 for the low half of a 32-bit lane; for the high half 2^(mantissa bits − 2). */
// @ts-ignore: decorator
@inline export const CODE_WEIGHTS: usize = 48;
/** i16: the excess of that weighted sum over the code. */
// @ts-ignore: decorator
@inline export const CODE_BASE: usize = 64;
/** i8: the code of the largest finite value. */
// @ts-ignore: decorator
@inline export const MAX_CODE: usize = 80;
/**
 * The bits of 1.5 · 2^(7 − mantissa bits) minus those of 1: added to a binade's bits, a number that rounds to 2^−16
 * of a step.
 */
// @ts-ignore: decorator
@inline export const DITHER_ROUND: usize = 96;
/** i16: mask of the exponent's position in the code. */
// @ts-ignore: decorator
@inline export const DITHER_EXPONENT: usize = 112;
/** i16: the excess of exponent and steps over the code. */
// @ts-ignore: decorator
@inline export const DITHER_BASE: usize = 128;
/** The difference of f32's bias, as f32 bits. */
// @ts-ignore: decorator
@inline export const BIAS: usize = 144;
/** The largest finite code, shifted to f32's exponent and mantissa. */
// @ts-ignore: decorator
@inline export const MAX_SHIFTED: usize = 160;

// @ts-ignore: decorator
@inline const TABLE_E4M3: usize = memory.data<u32>([
  0x3c800000, 0x3c800000, 0x3c800000, 0x3c800000, // 2^−6
  0x0a400000, 0x0a400000, 0x0a400000, 0x0a400000,
  0x02000000, 0x02000000, 0x02000000, 0x02000000,
  0x00020020, 0x00020020, 0x00020020, 0x00020020,
  0x046c046c, 0x046c046c, 0x046c046c, 0x046c046c, // 1132 = 8 · (20 + 127 − 6) + 4
  0x7e7e7e7e, 0x7e7e7e7e, 0x7e7e7e7e, 0x7e7e7e7e,
  0x02400000, 0x02400000, 0x02400000, 0x02400000,
  0x07f807f8, 0x07f807f8, 0x07f807f8, 0x07f807f8,
  0x03e803e8, 0x03e803e8, 0x03e803e8, 0x03e803e8, // 1000 = 8 · (4 + 127 − 6)
  0x3c000000, 0x3c000000, 0x3c000000, 0x3c000000, // 120
  0x07e00000, 0x07e00000, 0x07e00000, 0x07e00000,
], 16);
// @ts-ignore: decorator
@inline const TABLE_E5M2: usize = memory.data<u32>([
  0x38800000, 0x38800000, 0x38800000, 0x38800000, // 2^−14
  0x0ac00000, 0x0ac00000, 0x0ac00000, 0x0ac00000,
  0x01800000, 0x01800000, 0x01800000, 0x01800000,
  0x00010020, 0x00010020, 0x00010020, 0x00010020,
  0x021a021a, 0x021a021a, 0x021a021a, 0x021a021a, // 538 = 4 · (21 + 127 − 14) + 2
  0x7b7b7b7b, 0x7b7b7b7b, 0x7b7b7b7b, 0x7b7b7b7b,
  0x02c00000, 0x02c00000, 0x02c00000, 0x02c00000,
  0x03fc03fc, 0x03fc03fc, 0x03fc03fc, 0x03fc03fc,
  0x01d801d8, 0x01d801d8, 0x01d801d8, 0x01d801d8, // 472 = 4 · (5 + 127 − 14)
  0x38000000, 0x38000000, 0x38000000, 0x38000000, // 112
  0x0f600000, 0x0f600000, 0x0f600000, 0x0f600000,
], 16);

/** The table of E4M3 or E5M2. */
// @ts-ignore: decorator
@inline
export function float8Table(element: i32): usize {
  return element == E4M3 ? TABLE_E4M3 : TABLE_E5M2;
}

// @ts-ignore: decorator
@inline
export function mantissaBits(element: i32): i32 {
  return 3 - element;
}

/** Exponent of the largest finite value. */
// @ts-ignore: decorator
@inline
export function emax(element: i32): i32 {
  return element == E4M3 ? 8 : 15;
}

/** The largest finite value. */
// @ts-ignore: decorator
@inline
export function largest(element: i32): f32 {
  return element == E4M3 ? 448 : 57344;
}
