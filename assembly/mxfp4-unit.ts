/**
 * Round four vectors along k of four rows to one unit of a panel: 16 integers, 2 · E2M1.
 */
import { noise4 } from "./noise";

/** Adding it leaves the nearest integer, ties to even, in the low bits of an f32: 1.5 · 2^23. */
// @ts-ignore: decorator
@inline const ROUND: f32 = 12582912;

/**
 * Constants, one v128 each. In memory, because V8 rebuilds a v128 constant from immediates at each
 * use, which costs more than a load.
 */
// @ts-ignore: decorator
@inline const ROUND_F32: usize = memory.data<f32>([ROUND, ROUND, ROUND, ROUND], 16);
// @ts-ignore: decorator
@inline const ONES: usize = memory.data<u32>([1, 1, 1, 1], 16);
// @ts-ignore: decorator
@inline const TWO_F32: usize = memory.data<f32>([2, 2, 2, 2], 16);
// @ts-ignore: decorator
@inline const EIGHT_F32: usize = memory.data<f32>([8, 8, 8, 8], 16);
// @ts-ignore: decorator
@inline const TWELVE_F32: usize = memory.data<f32>([12, 12, 12, 12], 16);
// @ts-ignore: decorator
@inline const MINUS_TWELVE_F32: usize = memory.data<f32>([-12, -12, -12, -12], 16);
// @ts-ignore: decorator
@inline const EXPONENT_BITS: usize = memory.data<u32>([0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000], 16);
/** The bits of ROUND less those of 2. */
// @ts-ignore: decorator
@inline const ROUND_LESS_TWO: usize = memory.data<u32>([0x0b400000, 0x0b400000, 0x0b400000, 0x0b400000], 16);
// @ts-ignore: decorator
@inline const DITHER_MASK: usize = memory.data<u32>([0x07ff07ff, 0x07ff07ff, 0x07ff07ff, 0x07ff07ff], 16);
// @ts-ignore: decorator
@inline const EVEN_BYTES: usize = memory.data<u32>([0x00ff00ff, 0x00ff00ff, 0x00ff00ff, 0x00ff00ff], 16);
/** What lies below E2M1's step at a number of half-units: 0 below 4, 1 below 8, then 3. */
// @ts-ignore: decorator
@inline const BELOW_STEP: usize = memory.data<u8>([0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 0, 0, 0], 16);

/**
 * Four vectors along k, stochastically rounded: docs/randomness.md, on two pairs of k at once. From
 * the halves on, the bytes of a 32-bit lane are k 0, 2, 1, 3. Swizzle and select are the relaxed ones,
 * for one instruction each; with indices below 16 and masks of whole bytes they are exact.
 */
// @ts-ignore: decorator
@inline
export function stochasticUnit(from: usize, factor: v128, key0: v128, key1: v128, pairs: v128): v128 {
  const grid01 = gridPair(v128.load(from), v128.load(from, 16), factor);
  const grid23 = gridPair(v128.load(from, 32), v128.load(from, 48), factor);
  const noise01 = noise4(key0, key1, pairs);
  const noise23 = noise4(key0, key1, i32x4.add(pairs, v128.load(ONES)));
  const dither = v128.load(DITHER_MASK);
  const sum01 = i16x8.add(i16x8.abs(grid01), v128.and(noise01, dither));
  const sum23 = i16x8.add(i16x8.abs(grid23), v128.and(noise23, dither));
  // Shifted by 11 to the low byte, or by 3, which leaves the same in the high byte.
  const halves = interleaveBytes(i16x8.shr_u(sum01, 11), i16x8.shr_u(sum23, 3));
  const coarse = interleaveBytes(i16x8.shr_u(noise01, 11), i16x8.shr_u(noise23, 3));
  const fine = i8x16.relaxed_swizzle(v128.load(BELOW_STEP), halves);
  const magnitude = v128.andnot(i8x16.add(halves, v128.and(coarse, fine)), fine);
  const negative = interleaveBytes(i16x8.shr_s(grid01, 15), i16x8.shr_s(grid23, 15));
  return i8x16.sub(v128.xor(magnitude, negative), negative);
}

/** Low bytes of the i16 lanes of `even`, high bytes of those of `odd`. */
// @ts-ignore: decorator
@inline
function interleaveBytes(even: v128, odd: v128): v128 {
  return i8x16.relaxed_laneselect(even, odd, v128.load(EVEN_BYTES));
}

/** x · factor of two vectors, to the nearest integer: i16 lanes x0, x1 alternating. */
// @ts-ignore: decorator
@inline
function gridPair(x0: v128, x1: v128, factor: v128): v128 {
  return lowHalves(
    f32x4.add(f32x4.mul(x0, factor), v128.load(ROUND_F32)),
    f32x4.add(f32x4.mul(x1, factor), v128.load(ROUND_F32)),
  );
}

/** The low 16 bits of each 32-bit lane, those of a and b alternating. */
// @ts-ignore: decorator
@inline
function lowHalves(a: v128, b: v128): v128 {
  return i16x8.shuffle(a, i32x4.shl(b, 16), 0, 9, 2, 11, 4, 13, 6, 15);
}

/** Four vectors along k to nearest even, in twice their value. */
// @ts-ignore: decorator
@inline
export function nearestUnit(from: usize, factor: v128): v128 {
  const doubled01 = lowHalves(
    nearestDoubled(v128.load(from), factor),
    nearestDoubled(v128.load(from, 16), factor),
  );
  const doubled23 = lowHalves(
    nearestDoubled(v128.load(from, 32), factor),
    nearestDoubled(v128.load(from, 48), factor),
  );
  return interleaveBytes(doubled01, i16x8.shl(doubled23, 8));
}

/**
 * 2 · (nearest E2M1 of x / scale), as an integer in the low bits of an f32. E2M1's step is 1 below 4
 * (doubled), 2 below 8, then 4; a value that rounds up to 4 or 8 is the same from either side. To
 * round to a step, ties to even, is to add and take away a number whose last bit is the step.
 */
// @ts-ignore: decorator
@inline
function nearestDoubled(x: v128, factor: v128): v128 {
  const v = f32x4.mul(x, factor);
  const magnitude = f32x4.abs(v);
  // The step's 1.5 · 2^23: ROUND with the exponent of the magnitude, of 2 below 4 and of 8 from 8 on.
  const exponent = v128.and(
    i32x4.min_s(i32x4.max_s(magnitude, v128.load(TWO_F32)), v128.load(EIGHT_F32)),
    v128.load(EXPONENT_BITS),
  );
  const magic = i32x4.add(exponent, v128.load(ROUND_LESS_TWO));
  const rounded = f32x4.sub(f32x4.add(v, magic), magic);
  // pmin and pmax are one instruction; min and max, which care for −0 and NaN, are several.
  const clamped = f32x4.pmax(
    f32x4.pmin(rounded, v128.load(TWELVE_F32)),
    v128.load(MINUS_TWELVE_F32),
  );
  return f32x4.add(clamped, v128.load(ROUND_F32));
}
