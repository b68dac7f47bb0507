import { BLOCK_F32_BYTES, BLOCK_SIZE, E8M0_NAN } from "../mx/block";
import { CHUNK_BYTES, drawChunkNoise, NOISE } from "../mx/chunk";
import { chooseScales, inverseScale, SCALE_MSE, scaleCarry } from "../mx/e8m0";
import { halveScales } from "../mx/least-squares";
import {
  CODE_BASE,
  CODE_WEIGHTS,
  DITHER_BASE,
  DITHER_EXPONENT,
  DITHER_ROUND,
  E5M2,
  emax,
  float8Table,
  HALF_STEP,
  largest,
  LEAST_NORMAL,
  mantissaBits,
  MAX_CODE,
  MAX_MANTISSA,
  STEP_ROUND,
} from "./float8";

/** Constants of the inner loops, in memory for the reason given in float8.ts. */
// @ts-ignore: decorator
@inline const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);
// @ts-ignore: decorator
@inline const EXPONENT: usize = memory.data<u32>([0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000], 16);
/** Mask of the steps, at most 16, below the exponent bits. */
// @ts-ignore: decorator
@inline const STEPS: usize = memory.data<u32>([0x003f003f, 0x003f003f, 0x003f003f, 0x003f003f], 16);
// @ts-ignore: decorator
@inline const SIGN_OF_CODE: usize = memory.data<u32>([0x80808080, 0x80808080, 0x80808080, 0x80808080], 16);

/** Ties go to the even code (OCP MX v1.0 §6.3). */
// @ts-ignore: decorator
@inline const TIES_EVEN: i32 = 0;
/** Ties go away from zero. */
// @ts-ignore: decorator
@inline const TIES_AWAY: i32 = 1;

/**
 * MXFP8 of `input`, rounded to nearest.
 *
 *   scales[b] = the scale rule's byte for block b, at least `leastScale`
 *   element   = nearest E4M3 or E5M2 of x / 2^(scale − 127); what exceeds the largest finite value
 *               becomes it
 *
 * The sign bit is kept, that of a zero too. A block with a NaN or an infinity has scale 255 and elements
 * 0; a zero block has scale `leastScale`.
 *
 * Shapes:   elements u8 [length]; scales u8 [length / 32]; input f32 [length], 16-byte aligned
 * Requires: length % 32 == 0; element 0 (E4M3) or 1 (E5M2); ties 0 (even) or 1 (away from zero);
 *           scaleRule 0 (floor), 1 (rceil), 2 (ceil), 3 (even) or 4 (mse); leastScale 0 or 1
 * Source:   OCP MX v1.0 §6.3
 */
export function quantizeNearestMxfp8(
  elements: usize, scales: usize, input: usize, length: i32,
  element: i32, ties: i32, scaleRule: i32, leastScale: i32,
): void {
  checkArguments(input, length, element);
  assert(ties == TIES_EVEN || ties == TIES_AWAY, "ties must be 0 or 1");

  if (ties == TIES_EVEN) nearest(elements, scales, input, length, element, TIES_EVEN, scaleRule, leastScale);
  else nearest(elements, scales, input, length, element, TIES_AWAY, scaleRule, leastScale);
}

// @ts-ignore: decorator
@inline
function checkArguments(input: usize, length: i32, element: i32): void {
  assert(length % BLOCK_SIZE == 0, "length must be a multiple of 32");
  assert((input & 15) == 0, "input must be 16-byte aligned");
  assert(element >= 0 && element <= E5M2, "element must be 0 or 1");
}

/** Inlined once for each mode of ties, as a constant. */
// @ts-ignore: decorator
@inline
function nearest(
  elements: usize, scales: usize, input: usize, length: i32,
  element: i32, ties: i32, scaleRule: i32, leastScale: i32,
): void {
  const table = float8Table(element);
  const carry = scaleCarry(scaleRule, MAX_MANTISSA, mantissaBits(element));
  const end = input + (<usize>length << 2);
  while (input < end) {
    const chunkEnd = min(input + CHUNK_BYTES, end);
    chooseScales(scales, input, chunkEnd, carry, emax(element), leastScale);
    if (scaleRule == SCALE_MSE) {
      halveScales(
        scales, input, chunkEnd, leastScale, 1, table + LEAST_NORMAL, table + STEP_ROUND, largest(element),
      );
    }
    for (; input < chunkEnd; input += BLOCK_F32_BYTES, elements += BLOCK_SIZE, scales++) {
      const scale: i32 = load<u8>(scales);
      if (scale == E8M0_NAN) {
        memory.fill(elements, 0, BLOCK_SIZE);
        continue;
      }
      const factor = f32x4.splat(inverseScale(scale));
      v128.store(elements, nearest16(input, factor, table, ties));
      v128.store(elements, nearest16(input + 64, factor, table, ties), 16);
    }
  }
}

/** Codes of 16 f32 at `input`, in i8 lanes. */
// @ts-ignore: decorator
@inline
function nearest16(input: usize, factor: v128, table: usize, ties: i32): v128 {
  const x0 = v128.load(input);
  const x1 = v128.load(input, 16);
  const x2 = v128.load(input, 32);
  const x3 = v128.load(input, 48);
  const low = nearest8(x0, x1, factor, table, ties);
  const high = nearest8(x2, x3, factor, table, ties);
  return withSigns(i8x16.narrow_i16x8_u(low, high), table, x0, x1, x2, x3);
}

/** Adds signs to magnitude codes, up to 128; those beyond the largest finite one become it. */
// @ts-ignore: decorator
@inline
function withSigns(
  magnitudes: v128, table: usize, x0: v128, x1: v128, x2: v128, x3: v128,
): v128 {
  // Saturation keeps the sign.
  const signs = i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(x0, x1), i16x8.narrow_i32x4_s(x2, x3));
  return v128.or(
    i8x16.min_u(magnitudes, v128.load(table, MAX_CODE)),
    v128.and(signs, v128.load(SIGN_OF_CODE)),
  );
}

/** Magnitude codes of 8 f32, in i16 lanes. */
// @ts-ignore: decorator
@inline
function nearest8(a: v128, b: v128, factor: v128, table: usize, ties: i32): v128 {
  const codes = i16x8.narrow_i32x4_u(
    nearest4(a, factor, table, ties),
    nearest4(b, factor, table, ties),
  );
  return i16x8.sub(i16x8.shr_u(codes, 5), v128.load(table, CODE_BASE));
}

/**
 * 32 · (the magnitude code + CODE_BASE) of 4 f32.
 *
 * With m mantissa bits, the step is 2^(e − m), e the exponent of u = |x| · factor but at least that of
 * the least normal value. To round to it is to add 1.5 · 2^(e + 23 − m), whose last bit is the step: of
 * the sum's bits, the lowest are n = u / step to nearest even, the highest e and a constant. The code is
 * n + 2^m · (e − least e), from whichever side n reached the next binade.
 */
// @ts-ignore: decorator
@inline
function nearest4(x: v128, factor: v128, table: usize, ties: i32): v128 {
  const u = v128.and(f32x4.mul(x, factor), v128.load(MAGNITUDE));
  const binade = i32x4.max_s(v128.and(u, v128.load(EXPONENT)), v128.load(table, LEAST_NORMAL));
  const round = i32x4.add(binade, v128.load(table, STEP_ROUND));
  let sum = f32x4.add(u, round);
  if (ties == TIES_AWAY) {
    // At a tie u is half a step above what it was rounded to; n moves by one (eq gives −1).
    const below = f32x4.sub(u, f32x4.sub(sum, round));
    sum = i32x4.sub(sum, f32x4.eq(below, i32x4.sub(binade, v128.load(table, HALF_STEP))));
  }
  return i32x4.dot_i16x8_s(sum, v128.load(table, CODE_WEIGHTS));
}

/**
 * MXFP8 of `input`, rounded stochastically.
 *
 *   scales[b] = the scale rule's byte for block b, at least `leastScale`
 *   g         = |x| / 2^(scale − 127) in 2^−16 of the local step of the elements' type, to nearest even
 *   element   = floor((g + r) / 2^16) steps, r the element's 16 bits of noise; at most the largest
 *               finite value
 *
 * E[element] is within 2^−17 of a step of the exact value, if nothing clips. Special values are those of
 * `quantizeNearestMxfp8`.
 *
 * Shapes:   elements u8 [length]; scales u8 [length / 32]; input f32 [length], 16-byte aligned
 * Requires: length % 32 == 0; element 0 (E4M3) or 1 (E5M2); scaleRule 0 (floor), 1 (rceil), 2 (ceil)
 *           or 3 (even); leastScale 0 or 1
 * Random:   elements 2j and 2j + 1 take the halves of noise(key, firstPair + j): the same bytes on
 *           every machine, in whatever pieces a tensor is quantized
 * Source:   the bit recipe is in docs/randomness.md
 */
export function quantizeStochasticMxfp8(
  elements: usize, scales: usize, input: usize, length: i32,
  element: i32, scaleRule: i32, leastScale: i32, key0: u32, key1: u32, firstPair: u32,
): void {
  checkArguments(input, length, element);
  assert(scaleRule != SCALE_MSE, "what clips is not unbiased");

  const table = float8Table(element);
  const carry = scaleCarry(scaleRule, MAX_MANTISSA, mantissaBits(element));
  const shift = 7 - mantissaBits(element);
  const keys0 = i32x4.splat(key0);
  const keys1 = i32x4.splat(key1);
  let pairs = i32x4.add(i32x4.splat(firstPair), i32x4(0, 1, 2, 3));

  const end = input + (<usize>length << 2);
  while (input < end) {
    const chunkEnd = min(input + CHUNK_BYTES, end);
    chooseScales(scales, input, chunkEnd, carry, emax(element), leastScale);
    pairs = drawChunkNoise(keys0, keys1, pairs, chunkEnd - input);
    let noise = NOISE;
    for (; input < chunkEnd; input += BLOCK_F32_BYTES, elements += BLOCK_SIZE, scales++) {
      const scale: i32 = load<u8>(scales);
      if (scale == E8M0_NAN) {
        memory.fill(elements, 0, BLOCK_SIZE);
      } else {
        const factor = f32x4.splat(inverseScale(scale));
        v128.store(elements, stochastic16(input, factor, noise, table, shift));
        v128.store(elements, stochastic16(input + 64, factor, noise + 32, table, shift), 16);
      }
      noise += BLOCK_F32_BYTES >> 1;
    }
  }
}

/** Codes of 16 f32 at `input`, in i8 lanes, with the 8 u32 at `noise`. */
// @ts-ignore: decorator
@inline
function stochastic16(input: usize, factor: v128, noise: usize, table: usize, shift: i32): v128 {
  const x0 = v128.load(input);
  const x1 = v128.load(input, 16);
  const x2 = v128.load(input, 32);
  const x3 = v128.load(input, 48);
  const low = stochastic8(x0, x1, factor, v128.load(noise), table, shift);
  const high = stochastic8(x2, x3, factor, v128.load(noise, 16), table, shift);
  return withSigns(i8x16.narrow_i16x8_u(low, high), table, x0, x1, x2, x3);
}

/** Magnitude codes of 8 f32, in i16 lanes: the steps in the binade plus the binade's own code. */
// @ts-ignore: decorator
@inline
function stochastic8(
  a: v128, b: v128, factor: v128, random: v128, table: usize, shift: i32,
): v128 {
  const sums = i16x8.narrow_i32x4_s(
    dither4(a, factor, i32x4.extend_low_i16x8_u(random), table),
    dither4(b, factor, i32x4.extend_high_i16x8_u(random), table),
  );
  const exponents = v128.and(i16x8.shr_u(sums, shift), v128.load(table, DITHER_EXPONENT));
  const steps = v128.and(sums, v128.load(STEPS));
  return i16x8.sub(i16x8.add(steps, exponents), v128.load(table, DITHER_BASE));
}

/**
 * The steps of 4 f32, rounded with `random`, plus 128 · the exponent of the number that rounds to 2^−16 of a step,
 * plus 64: the upper halves of the sums' bits.
 */
// @ts-ignore: decorator
@inline
function dither4(x: v128, factor: v128, random: v128, table: usize): v128 {
  const u = v128.and(f32x4.mul(x, factor), v128.load(MAGNITUDE));
  const binade = i32x4.max_s(v128.and(u, v128.load(EXPONENT)), v128.load(table, LEAST_NORMAL));
  const sum = f32x4.add(u, i32x4.add(binade, v128.load(table, DITHER_ROUND)));
  return i32x4.shr_u(i32x4.add(sum, random), 16);
}
