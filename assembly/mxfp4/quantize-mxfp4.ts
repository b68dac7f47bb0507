import { BLOCK_F32_BYTES, BLOCK_SIZE, E8M0_NAN } from "../mx/block";
import { CHUNK_BYTES, drawChunkNoise, NOISE } from "../mx/chunk";
import { chooseScales, inverseScale, SCALE_CEIL, SCALE_MSE, scaleCarry } from "../mx/e8m0";
import { halveScales } from "../mx/least-squares";
import { BLOCK_BYTES, E2M1_EMAX } from "./constants";
import { BELOW_STEP, CODES, lookUp, packNibbles, signBits } from "./e2m1";

/**
 * Constants of the inner loops, one or more v128. In memory, because V8 rebuilds a v128 constant from
 * immediates at each use, which costs more than a load.
 */
// @ts-ignore: decorator
@inline const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);
// @ts-ignore: decorator
@inline const EXPONENT: usize = memory.data<u32>([0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000], 16);
// @ts-ignore: decorator
@inline const ONE_F32: usize = memory.data<f32>([1, 1, 1, 1], 16);
/** The bits of 1.5 · 2^22 minus those of 1. */
// @ts-ignore: decorator
@inline const STEP_ROUND: usize = memory.data<u32>([0x0b400000, 0x0b400000, 0x0b400000, 0x0b400000], 16);
/** Two steps of the exponent: subtracting it multiplies by 1/4. */
// @ts-ignore: decorator
@inline const TWO_BINADES: usize = memory.data<u32>([0x01000000, 0x01000000, 0x01000000, 0x01000000], 16);
/** 64 for the low half of a 32-bit lane, 1 for the high one. */
// @ts-ignore: decorator
@inline const STEP_WEIGHTS: usize = memory.data<u32>([0x00010040, 0x00010040, 0x00010040, 0x00010040], 16);
/** Raises 64 · (299 + 7) to the last multiple of 64 below 2^16, so that larger values saturate. */
// @ts-ignore: decorator
@inline const STEP_LIFT: usize = memory.data<u32>([0xb340b340, 0xb340b340, 0xb340b340, 0xb340b340], 16);
// @ts-ignore: decorator
@inline const MAGNITUDE_CODE: usize = memory.data<u32>([0x07070707, 0x07070707, 0x07070707, 0x07070707], 16);
// @ts-ignore: decorator
@inline const DITHER_MASK: usize = memory.data<u32>([0x07ff07ff, 0x07ff07ff, 0x07ff07ff, 0x07ff07ff], 16);
/** 6 in half-units. */
// @ts-ignore: decorator
@inline const HALVES_MAX: usize = memory.data<u32>([0x0c0c0c0c, 0x0c0c0c0c, 0x0c0c0c0c, 0x0c0c0c0c], 16);
/** 1.5 · 2^11: adding it leaves the nearest multiple of 1/4096, ties to even, in an f32's low bits. */
// @ts-ignore: decorator
@inline const GRID_ROUND: usize = memory.data<f32>([3072, 3072, 3072, 3072], 16);
/** The mantissa of 6 as f32 bits. */
// @ts-ignore: decorator
@inline const MAX_MANTISSA: i32 = 0x400000;
/** The largest magnitude. */
// @ts-ignore: decorator
@inline const MAX: f32 = 6;
/** Ties go to the even code (OCP MX v1.0 §6.3). */
// @ts-ignore: decorator
@inline const TIES_EVEN: i32 = 0;
/** Ties go away from zero (microxcaling's default). */
// @ts-ignore: decorator
@inline const TIES_AWAY: i32 = 1;
/** Ties go toward zero, and no zero has a sign (ggml). */
// @ts-ignore: decorator
@inline const TIES_ZERO: i32 = 2;

/**
 * MXFP4 of `input`, rounded to nearest.
 *
 *   scales[b] = the scale rule's byte for block b, at least `leastScale`
 *   element   = nearest E2M1 of prescale · x / 2^(scale − 127); magnitudes over 6 become 6
 *
 * The sign bit is kept, that of a zero too unless ties go toward zero. A block with a NaN or an
 * infinity has scale 255 and elements 0; a zero block has scale `leastScale`.
 *
 * Shapes:   elements u8 [length / 2]; scales u8 [length / 32]; input f32 [length], 16-byte aligned
 * Requires: length % 32 == 0; ties 0 (even), 1 (away from zero) or 2 (toward zero);
 *           scaleRule 0 (floor), 1 (rceil), 2 (ceil), 3 (even) or 4 (mse); prescale 1 or 3/4;
 *           leastScale 0 or 1
 * Source:   OCP MX v1.0 §6.3; Algorithm 1 of arXiv 2502.20586
 */
export function quantizeNearestMxfp4(
  elements: usize, scales: usize, input: usize, length: i32,
  ties: i32, scaleRule: i32, prescale: f32, leastScale: i32,
): void {
  assert(length % BLOCK_SIZE == 0, "length must be a multiple of 32");
  assert((input & 15) == 0, "input must be 16-byte aligned");

  if (ties == TIES_EVEN) nearest(elements, scales, input, length, TIES_EVEN, scaleRule, prescale, leastScale);
  else nearest(elements, scales, input, length, ties, scaleRule, prescale, leastScale);
}

/** Inlined twice: for ties to even, as a constant, and for the other modes. */
// @ts-ignore: decorator
@inline
function nearest(
  elements: usize, scales: usize, input: usize, length: i32,
  ties: i32, scaleRule: i32, prescale: f32, leastScale: i32,
): void {
  const isMse = scaleRule == SCALE_MSE;
  // 3/4 of a value up to 8 is at most 6.
  const isPrescaled = isMse && prescale != 1;
  const carry = scaleCarry(isPrescaled ? SCALE_CEIL : scaleRule, MAX_MANTISSA, 1);
  const emax = isPrescaled ? E2M1_EMAX + 1 : E2M1_EMAX;
  const end = input + (<usize>length << 2);
  while (input < end) {
    const chunkEnd = min(input + CHUNK_BYTES, end);
    chooseScales(scales, input, chunkEnd, carry, emax, leastScale);
    if (isMse) halveScales(scales, input, chunkEnd, leastScale, prescale, ONE_F32, STEP_ROUND, MAX);
    for (; input < chunkEnd; input += BLOCK_F32_BYTES, elements += BLOCK_BYTES, scales++) {
      const scale: i32 = load<u8>(scales);
      if (scale == E8M0_NAN) {
        v128.store(elements, i32x4.splat(0));
        continue;
      }
      const factor = f32x4.splat(inverseScale(scale) * prescale);
      v128.store(
        elements,
        packNibbles(nearest16(input, factor, ties), nearest16(input + 64, factor, ties)),
      );
    }
  }
}

/** Codes of 16 f32 at `input`, in i8 lanes. */
// @ts-ignore: decorator
@inline
function nearest16(input: usize, factor: v128, ties: i32): v128 {
  const x0 = v128.load(input);
  const x1 = v128.load(input, 16);
  const x2 = v128.load(input, 32);
  const x3 = v128.load(input, 48);
  const low = nearest8(x0, x1, factor, ties);
  const high = nearest8(x2, x3, factor, ties);
  const magnitudes = v128.and(i8x16.narrow_i16x8_s(low, high), v128.load(MAGNITUDE_CODE));
  const signs = signBits(i16x8.narrow_i32x4_s(x0, x1), i16x8.narrow_i32x4_s(x2, x3));
  if (ties != TIES_ZERO) return v128.or(magnitudes, signs);
  return v128.or(magnitudes, v128.andnot(signs, i8x16.eq(magnitudes, i8x16.splat(0))));
}

/** Magnitude codes minus 8 of 8 f32, in i16 lanes; codes over 7 become 7. */
// @ts-ignore: decorator
@inline
function nearest8(a: v128, b: v128, factor: v128, ties: i32): v128 {
  const codes = i16x8.narrow_i32x4_s(nearest4(a, factor, ties), nearest4(b, factor, ties));
  return i16x8.shr_s(i16x8.add_sat_u(codes, v128.load(STEP_LIFT)), 6);
}

/**
 * 64 · (299 + the magnitude code) of 4 f32, codes up to 8.
 *
 * E2M1's step is 2^(e − 1), e the exponent of u = |x| · factor but at least 0. To round to it is to add
 * 1.5 · 2^(e + 22), whose last bit is the step: of the sum's bits, the lowest are n = u / step to
 * nearest even, the highest e + 149. The code is n + 2e, from whichever side n reached 4.
 */
// @ts-ignore: decorator
@inline
function nearest4(x: v128, factor: v128, ties: i32): v128 {
  const u = v128.and(f32x4.mul(x, factor), v128.load(MAGNITUDE));
  const binade = i32x4.max_s(v128.and(u, v128.load(EXPONENT)), v128.load(ONE_F32));
  const round = i32x4.add(binade, v128.load(STEP_ROUND));
  let sum = f32x4.add(u, round);
  if (ties != TIES_EVEN) {
    // At a tie u is half a step, 2^e / 4, from what it was rounded to; n moves by one (eq gives −1).
    const above = f32x4.sub(f32x4.sub(sum, round), u);
    const halfStep = i32x4.sub(binade, v128.load(TWO_BINADES));
    if (ties == TIES_ZERO) sum = i32x4.add(sum, f32x4.eq(above, halfStep));
    else sum = i32x4.sub(sum, f32x4.eq(above, f32x4.neg(halfStep)));
  }
  return i32x4.dot_i16x8_s(sum, v128.load(STEP_WEIGHTS));
}

/**
 * MXFP4 of `input`, rounded stochastically.
 *
 *   scales[b] = the scale rule's byte for block b, at least `leastScale`
 *   u         = prescale · |x| / 2^(scale − 127) to the nearest 1/4096 (ties even), at most 6
 *   h         = floor(2u + r / 2048), r the element's first 11 bits of noise: half-units, 0 … 12
 *   element   = (h + (t & d)) & ~d half-units, t its next 2 bits and d + 1 the local step of E2M1
 *
 * Both steps have the right mean, so E[element] = u: within 2^−13 of the exact value.
 * Special values are those of `quantizeNearestMxfp4`.
 *
 * Shapes:   elements u8 [length / 2]; scales u8 [length / 32]; input f32 [length], 16-byte aligned
 * Requires: length % 32 == 0; scaleRule 0 (floor), 1 (rceil), 2 (ceil) or 3 (even); leastScale 0 or 1
 * Random:   elements 2j and 2j + 1 take the halves of noise(key, firstPair + j): the same bytes on
 *           every machine, in whatever pieces a tensor is quantized
 * Meaning:  with floor and prescale 3/4, E[dequantize(result)] = 3/4 · input: a GEMM of two such
 *           operands is scaled by 16/9, one tensor by 4/3
 * Source:   Algorithm 2 of arXiv 2502.20586; the bit recipe is in docs/randomness.md
 */
export function quantizeStochasticMxfp4(
  elements: usize, scales: usize, input: usize, length: i32,
  scaleRule: i32, prescale: f32, leastScale: i32, key0: u32, key1: u32, firstPair: u32,
): void {
  assert(length % BLOCK_SIZE == 0, "length must be a multiple of 32");
  assert((input & 15) == 0, "input must be 16-byte aligned");
  assert(scaleRule != SCALE_MSE, "what clips is not unbiased");

  const carry = scaleCarry(scaleRule, MAX_MANTISSA, 1);
  const keys0 = i32x4.splat(key0);
  const keys1 = i32x4.splat(key1);
  let pairs = i32x4.add(i32x4.splat(firstPair), i32x4(0, 1, 2, 3));

  const end = input + (<usize>length << 2);
  while (input < end) {
    const chunkEnd = min(input + CHUNK_BYTES, end);
    chooseScales(scales, input, chunkEnd, carry, E2M1_EMAX, leastScale);
    pairs = drawChunkNoise(keys0, keys1, pairs, chunkEnd - input);
    let noise = NOISE;
    for (; input < chunkEnd; input += BLOCK_F32_BYTES, elements += BLOCK_BYTES, scales++) {
      const scale: i32 = load<u8>(scales);
      if (scale == E8M0_NAN) {
        v128.store(elements, i32x4.splat(0));
      } else {
        const factor = f32x4.splat(inverseScale(scale) * prescale);
        v128.store(
          elements,
          packNibbles(
            stochastic16(input, factor, noise),
            stochastic16(input + 64, factor, noise + 32),
          ),
        );
      }
      noise += BLOCK_F32_BYTES >> 1;
    }
  }
}

/** Codes of 16 f32 at `input`, in i8 lanes, with the 8 u32 at `noise`. */
// @ts-ignore: decorator
@inline
function stochastic16(input: usize, factor: v128, noise: usize): v128 {
  const x0 = v128.load(input);
  const x1 = v128.load(input, 16);
  const x2 = v128.load(input, 32);
  const x3 = v128.load(input, 48);
  const noiseLow = v128.load(noise);
  const noiseHigh = v128.load(noise, 16);
  const halves = i8x16.min_u(
    i8x16.narrow_i16x8_s(
      ditherToHalves(grid8(x0, x1, factor), noiseLow),
      ditherToHalves(grid8(x2, x3, factor), noiseHigh),
    ),
    v128.load(HALVES_MAX),
  );
  // Bits 11 and 12 of each 16 bits of noise, and others that `fine` masks.
  const coarse = i8x16.narrow_i16x8_s(i16x8.shr_u(noiseLow, 11), i16x8.shr_u(noiseHigh, 11));

  // E2M1's step is 1 half-unit below 2, 2 below 4, then 4; `fine` masks the bits below the step.
  const fine = lookUp(BELOW_STEP, halves);
  const codes = lookUp(CODES, i8x16.add(halves, v128.and(coarse, fine)));
  return v128.or(
    codes,
    signBits(i16x8.narrow_i32x4_s(x0, x1), i16x8.narrow_i32x4_s(x2, x3)),
  );
}

/** |x| · factor of 8 f32, below 8, to the nearest 1/4096 of a unit, in u16 lanes. */
// @ts-ignore: decorator
@inline
function grid8(a: v128, b: v128, factor: v128): v128 {
  const round = v128.load(GRID_ROUND);
  const grid = i16x8.narrow_i32x4_s(
    i32x4.sub(f32x4.add(f32x4.mul(a, factor), round), round),
    i32x4.sub(f32x4.add(f32x4.mul(b, factor), round), round),
  );
  return i16x8.abs(grid); // −2^15 becomes 2^15
}

/** Rounds grid steps to half-units stochastically, with the low 11 bits of noise. */
// @ts-ignore: decorator
@inline
function ditherToHalves(grid: v128, random: v128): v128 {
  return i16x8.shr_u(i16x8.add(grid, v128.and(random, v128.load(DITHER_MASK))), 11);
}
