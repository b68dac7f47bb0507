/**
 * Rounds four vectors along k, of four rows, to one unit of a panel: 16 integers, 2 · E2M1. The bytes of a 32-bit
 * lane are its row's k 0, 2, 1, 3.
 */
import { BELOW_STEP, lookUp } from "./e2m1";
import { keyed, mixed } from "../random/noise";

/**
 * Constants, one v128 each. In memory, because V8 rebuilds a v128 constant from immediates at each
 * use, which costs more than a load.
 */
/** 1.5 · 2^11: adding it leaves the nearest multiple of 1/4096, ties to even, in an f32's low bits. */
// @ts-ignore: decorator
@inline const GRID_ROUND: usize = memory.data<f32>([3072, 3072, 3072, 3072], 16);
/** 1.5 · 2^23: the same for integers. */
// @ts-ignore: decorator
@inline const INTEGER_ROUND: usize = memory.data<f32>([12582912, 12582912, 12582912, 12582912], 16);
/** 1.5 · 2^22: the same for multiples of 1/2. */
// @ts-ignore: decorator
@inline const HALF_ROUND: usize = memory.data<f32>([6291456, 6291456, 6291456, 6291456], 16);
// @ts-ignore: decorator
@inline export const ONES: usize = memory.data<u32>([1, 1, 1, 1], 16);
// @ts-ignore: decorator
@inline const ONE_F32: usize = memory.data<f32>([1, 1, 1, 1], 16);
// @ts-ignore: decorator
@inline const SIX_F32: usize = memory.data<f32>([6, 6, 6, 6], 16);
// @ts-ignore: decorator
@inline const MINUS_SIX_F32: usize = memory.data<f32>([-6, -6, -6, -6], 16);
// @ts-ignore: decorator
@inline const EXPONENT_BITS: usize = memory.data<u32>([0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000], 16);
/** The bits of 1.5 · 2^22 minus those of 1. */
// @ts-ignore: decorator
@inline const STEP_ROUND: usize = memory.data<u32>([0x0b400000, 0x0b400000, 0x0b400000, 0x0b400000], 16);
// @ts-ignore: decorator
@inline const DITHER_MASK: usize = memory.data<u32>([0x07ff07ff, 0x07ff07ff, 0x07ff07ff, 0x07ff07ff], 16);

/**
 * Interleaves the bytes of the lower and upper half. In memory: V8 would rebuild a shuffle's constant with four
 * instructions.
 */
// @ts-ignore: decorator
@inline const ALTERNATING: usize = memory.data<u8>([0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15], 16);

/** Bytes of the noise of 8 units: a block of 32 k of four rows. */
// @ts-ignore: decorator
@inline export const NOISE_BYTES: usize = 256;

/**
 * Writes the noise of `blocks` blocks of 32 k; `pairs` is the first pair of each of four rows, a multiple of 16. Done
 * well before the rounding, because the hash is a long dependency chain, and processors look only so far ahead.
 */
// @ts-ignore: decorator
@inline
export function drawUnitNoise(out: usize, blocks: i32, key0: v128, key1: v128, pairs: v128): void {
  const one = v128.load(ONES);
  for (; blocks > 0; blocks--) {
    // The 16 pairs of a block differ only in the low four bits, which are 0 in the first.
    const first = keyed(key0, pairs);
    let pair = i32x4.splat(0);
    for (const end = out + NOISE_BYTES; out < end; out += 16) {
      v128.store(out, mixed(key1, v128.xor(first, pair)));
      pair = i32x4.add(pair, one);
    }
    pairs = i32x4.add(pairs, i32x4.splat(16));
  }
}

/**
 * Rounds stochastically to 2 · E2M1; |x · factor| is below 6. The recipe of docs/randomness.md, on two pairs of k at
 * once.
 */
// @ts-ignore: decorator
@inline
export function stochasticUnit(from: usize, factor: v128, noise: usize): v128 {
  const round = v128.load(GRID_ROUND);
  const grid01 = roundPair(v128.load(from), v128.load(from, 16), factor, round);
  const grid23 = roundPair(v128.load(from, 32), v128.load(from, 48), factor, round);
  const magnitude = halfUnits(i16x8.abs(grid01), i16x8.abs(grid23), noise);
  // Narrowing may saturate, which keeps the sign.
  const negative = i8x16.lt_s(i8x16.narrow_i16x8_s(grid01, grid23), i8x16.splat(0));
  return interleaveHalves(i8x16.sub(v128.xor(magnitude, negative), negative));
}

/**
 * Rounds magnitudes on the dither grid (k 0, 1 and k 2, 3) to half-units of E2M1; the bytes of the first, then of the
 * second.
 */
// @ts-ignore: decorator
@inline
function halfUnits(grid01: v128, grid23: v128, noise: usize): v128 {
  const noise01 = v128.load(noise);
  const noise23 = v128.load(noise, 16);
  const dither = v128.load(DITHER_MASK);
  const sum01 = i16x8.add(grid01, v128.and(noise01, dither));
  const sum23 = i16x8.add(grid23, v128.and(noise23, dither));
  const halves = i8x16.narrow_i16x8_u(i16x8.shr_u(sum01, 11), i16x8.shr_u(sum23, 11));
  const coarse = i8x16.narrow_i16x8_u(i16x8.shr_u(noise01, 11), i16x8.shr_u(noise23, 11));
  const fine = lookUp(BELOW_STEP, halves);
  return v128.andnot(i8x16.add(halves, v128.and(coarse, fine)), fine);
}

/** Interleaves the bytes of the lower and upper half. */
// @ts-ignore: decorator
@inline
function interleaveHalves(v: v128): v128 {
  return i8x16.relaxed_swizzle(v, v128.load(ALTERNATING));
}

/**
 * Interleaves i16 lanes that fit bytes. By narrowing, since selecting bytes takes three instructions on Intel's
 * cores.
 */
// @ts-ignore: decorator
@inline
function interleaveBytes(even: v128, odd: v128): v128 {
  return interleaveHalves(i8x16.narrow_i16x8_s(even, odd));
}

/** x · factor of two vectors, rounded to the step that `round` leaves: i16 lanes x0, x1 alternating. */
// @ts-ignore: decorator
@inline
function roundPair(x0: v128, x1: v128, factor: v128, round: v128): v128 {
  return lowHalves(
    f32x4.add(f32x4.mul(x0, factor), round),
    f32x4.add(f32x4.mul(x1, factor), round),
  );
}

/** The low 16 bits of each 32-bit lane, of a and b alternating. */
// @ts-ignore: decorator
@inline
function lowHalves(a: v128, b: v128): v128 {
  return i16x8.shuffle(a, i32x4.shl(b, 16), 0, 9, 2, 11, 4, 13, 6, 15);
}

/**
 * Four vectors, `stride` bytes apart, times `factor`, to nearest integers, ties to even. The bytes of a 32-bit lane
 * are those of vectors 0, 2, 1, 3.
 */
// @ts-ignore: decorator
@inline
export function integerUnit(from: usize, stride: usize, factor: v128): v128 {
  const round = v128.load(INTEGER_ROUND);
  const integers01 = roundPair(v128.load(from), v128.load(from + stride), factor, round);
  const integers23 = roundPair(v128.load(from + 2 * stride), v128.load(from + 3 * stride), factor, round);
  return interleaveBytes(integers01, integers23);
}

/** Rounds to 2 · E2M1, nearest-even. */
// @ts-ignore: decorator
@inline
export function nearestUnit(from: usize, factor: v128): v128 {
  return unitOf(
    nearestE2M1(f32x4.mul(v128.load(from), factor)),
    nearestE2M1(f32x4.mul(v128.load(from, 16), factor)),
    nearestE2M1(f32x4.mul(v128.load(from, 32), factor)),
    nearestE2M1(f32x4.mul(v128.load(from, 48), factor)),
  );
}

/** Converts four vectors of E2M1 values along k to integers, doubled. */
// @ts-ignore: decorator
@inline
export function unitOf(q0: v128, q1: v128, q2: v128, q3: v128): v128 {
  // Half-units in the low bits.
  const round = v128.load(HALF_ROUND);
  const halves01 = lowHalves(f32x4.add(q0, round), f32x4.add(q1, round));
  const halves23 = lowHalves(f32x4.add(q2, round), f32x4.add(q3, round));
  return interleaveBytes(halves01, halves23);
}

/**
 * The nearest E2M1 values. E2M1's step is 1/2 below 2, 1 below 4, then 2; rounding up to 2 or 4 gives the same from
 * either side. To round to a step, ties to even, add and subtract a number whose last bit is the step.
 */
// @ts-ignore: decorator
@inline
export function nearestE2M1(v: v128): v128 {
  // 1.5 · 2^22 times the magnitude's power of two, at least 1.
  const exponent = i32x4.max_s(v128.and(v, v128.load(EXPONENT_BITS)), v128.load(ONE_F32));
  const round = i32x4.add(exponent, v128.load(STEP_ROUND));
  const rounded = f32x4.sub(f32x4.add(v, round), round);
  // pmin and pmax are one instruction; min and max, which handle −0 and NaN, are several.
  return f32x4.pmax(f32x4.pmin(rounded, v128.load(SIX_F32)), v128.load(MINUS_SIX_F32));
}
