import { BLOCK_BYTES, BLOCK_SIZE, E8M0_NAN } from "./constants";
import { packNibbles, signBits } from "./e2m1";
import { blockScale, inverseScale, keptMantissa } from "./e8m0";
import { noise4 } from "./noise";

/**
 * Constants of the inner loops, one or more v128. In memory, because V8 rebuilds a v128 constant from
 * immediates at each use, which costs more than a load.
 */
// @ts-ignore: decorator
@inline const LOWER_HALF: usize = memory.data<u32>([0xffff, 0xffff, 0xffff, 0xffff], 16);
/** Midpoints under an even code, as bf16: 0.75, 1.75, 3.5. */
// @ts-ignore: decorator
@inline const EVEN_MIDPOINTS: usize = memory.data<u32>([
  0x3f403f40, 0x3f403f40, 0x3f403f40, 0x3f403f40, 0x3fe03fe0, 0x3fe03fe0, 0x3fe03fe0, 0x3fe03fe0,
  0x40604060, 0x40604060, 0x40604060, 0x40604060,
], 16);
/** The bf16 just below each of them. */
// @ts-ignore: decorator
@inline const BELOW_EVEN_MIDPOINTS: usize = memory.data<u32>([
  0x3f3f3f3f, 0x3f3f3f3f, 0x3f3f3f3f, 0x3f3f3f3f, 0x3fdf3fdf, 0x3fdf3fdf, 0x3fdf3fdf, 0x3fdf3fdf,
  0x405f405f, 0x405f405f, 0x405f405f, 0x405f405f,
], 16);
/** Midpoints under an odd code, as bf16: 0.25, 1.25, 2.5, 5. */
// @ts-ignore: decorator
@inline const MIDPOINTS: usize = memory.data<u32>([
  0x3e803e80, 0x3e803e80, 0x3e803e80, 0x3e803e80, 0x3fa03fa0, 0x3fa03fa0, 0x3fa03fa0, 0x3fa03fa0,
  0x40204020, 0x40204020, 0x40204020, 0x40204020, 0x40a040a0, 0x40a040a0, 0x40a040a0, 0x40a040a0,
], 16);
/** The bf16 just below each of them. */
// @ts-ignore: decorator
@inline const BELOW_MIDPOINTS: usize = memory.data<u32>([
  0x3e7f3e7f, 0x3e7f3e7f, 0x3e7f3e7f, 0x3e7f3e7f, 0x3f9f3f9f, 0x3f9f3f9f, 0x3f9f3f9f, 0x3f9f3f9f,
  0x401f401f, 0x401f401f, 0x401f401f, 0x401f401f, 0x409f409f, 0x409f409f, 0x409f409f, 0x409f409f,
], 16);
// @ts-ignore: decorator
@inline const DITHER_MASK: usize = memory.data<u32>([0x07ff07ff, 0x07ff07ff, 0x07ff07ff, 0x07ff07ff], 16);
/** 6 units of the dither grid. */
// @ts-ignore: decorator
@inline const GRID_MAX: usize = memory.data<u32>([0x60006000, 0x60006000, 0x60006000, 0x60006000], 16);
/** 1.5 · 2^23: adding it leaves the nearest integer, ties to even, in an f32's low bits. */
// @ts-ignore: decorator
@inline const ROUND: usize = memory.data<u32>([0x4b400000, 0x4b400000, 0x4b400000, 0x4b400000], 16);
/** What lies below E2M1's step at a number of half-units: 0 below 4, 1 below 8, then 3. */
// @ts-ignore: decorator
@inline const BELOW_STEP: usize = memory.data<u8>([0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 0, 0, 0], 16);
/** The code of a number of half-units. */
// @ts-ignore: decorator
@inline const CODES: usize = memory.data<u8>([0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7, 0, 0, 0], 16);
/** Counters: four pairs on, eight pairs on, a block on. */
// @ts-ignore: decorator
@inline const FOUR: usize = memory.data<u32>([4, 4, 4, 4], 16);
// @ts-ignore: decorator
@inline const EIGHT: usize = memory.data<u32>([8, 8, 8, 8], 16);

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
 *           scaleRule 0 (floor), 1 (rceil), 2 (ceil) or 3 (even); leastScale 0 or 1
 * Source:   OCP MX v1.0 §6.3; Algorithm 1 of arXiv 2502.20586
 */
export function quantizeNearestMxfp4(
  elements: usize, scales: usize, input: usize, length: i32,
  ties: i32, scaleRule: i32, prescale: f32, leastScale: i32,
): void {
  assert(length % BLOCK_SIZE == 0, "length must be a multiple of 32");
  assert((input & 15) == 0, "input must be 16-byte aligned");

  const kept = keptMantissa(scaleRule);
  if (ties == TIES_EVEN) nearest(elements, scales, input, length, TIES_EVEN, kept, prescale, leastScale);
  else if (ties == TIES_AWAY) nearest(elements, scales, input, length, TIES_AWAY, kept, prescale, leastScale);
  else nearest(elements, scales, input, length, TIES_ZERO, kept, prescale, leastScale);
}

/** One copy of the loop for each way with ties, which is a constant in it. */
// @ts-ignore: decorator
@inline
function nearest(
  elements: usize, scales: usize, input: usize, length: i32,
  ties: i32, kept: i32, prescale: f32, leastScale: i32,
): void {
  const end = input + (<usize>length << 2);
  for (; input < end; input += <usize>BLOCK_SIZE << 2, elements += BLOCK_BYTES, scales++) {
    const scale = blockScale(input, kept, leastScale);
    store<u8>(scales, <u8>scale);
    if (scale == E8M0_NAN) {
      v128.store(elements, i32x4.splat(0));
      continue;
    }
    const inverse = f32x4.splat(inverseScale(scale));
    const factor = f32x4.splat(prescale);
    v128.store(
      elements,
      packNibbles(
        nearest16(input, inverse, factor, ties),
        nearest16(input + 64, inverse, factor, ties),
      ),
    );
  }
}

/** Codes of 16 f32 at `input`, in i8 lanes. */
// @ts-ignore: decorator
@inline
function nearest16(input: usize, inverse: v128, factor: v128, ties: i32): v128 {
  const low = nearest8(input, inverse, factor, ties);
  const high = nearest8(input + 32, inverse, factor, ties);
  const magnitudes = i8x16.narrow_i16x8_s(low, high);
  const signs = signBits(input);
  if (ties != TIES_ZERO) return v128.or(magnitudes, signs);
  return v128.or(magnitudes, v128.andnot(signs, i8x16.eq(magnitudes, i8x16.splat(0))));
}

/**
 * Magnitude codes of 8 f32, in i16 lanes: the number of midpoints below |x| · inverse · factor.
 *
 * A midpoint itself counts where the code above it is even, or always when ties go away from zero,
 * or never when they go toward it. Midpoints are bf16 values, so the upper halves of the bits decide:
 * v ≥ midpoint by the bits rounded down, v > midpoint by the bits rounded up.
 */
// @ts-ignore: decorator
@inline
function nearest8(input: usize, inverse: v128, factor: v128, ties: i32): v128 {
  const a = f32x4.mul(f32x4.mul(f32x4.abs(v128.load(input)), inverse), factor);
  const b = f32x4.mul(f32x4.mul(f32x4.abs(v128.load(input, 16)), inverse), factor);
  let even = upperHalves(a, b);
  let odd = even;
  if (ties != TIES_AWAY) {
    const almostOne = v128.load(LOWER_HALF);
    odd = upperHalves(i32x4.add(a, almostOne), i32x4.add(b, almostOne));
    if (ties == TIES_ZERO) even = odd;
  }
  // v ≥ midpoint is v > the bf16 below it. Each comparison gives −1 or 0.
  const evenMidpoints = ties == TIES_ZERO ? EVEN_MIDPOINTS : BELOW_EVEN_MIDPOINTS;
  let below = i16x8.gt_s(even, v128.load(evenMidpoints));
  below = i16x8.add(below, i16x8.gt_s(even, v128.load(evenMidpoints, 16)));
  below = i16x8.add(below, i16x8.gt_s(even, v128.load(evenMidpoints, 32)));
  const midpoints = ties == TIES_AWAY ? BELOW_MIDPOINTS : MIDPOINTS;
  below = i16x8.add(below, i16x8.gt_s(odd, v128.load(midpoints)));
  below = i16x8.add(below, i16x8.gt_s(odd, v128.load(midpoints, 16)));
  below = i16x8.add(below, i16x8.gt_s(odd, v128.load(midpoints, 32)));
  below = i16x8.add(below, i16x8.gt_s(odd, v128.load(midpoints, 48)));
  return i16x8.neg(below);
}

/** The upper 16 bits of each f32 lane of a, then b. Of positive values: they stay below 0x8000. */
// @ts-ignore: decorator
@inline
function upperHalves(a: v128, b: v128): v128 {
  return i16x8.narrow_i32x4_s(i32x4.shr_u(a, 16), i32x4.shr_u(b, 16));
}

/** Steps of the dither grid in one unit (the value 1.0). */
// @ts-ignore: decorator
@inline const GRID: f32 = 4096;

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

  const kept = keptMantissa(scaleRule);
  const keys0 = i32x4.splat(key0);
  const keys1 = i32x4.splat(key1);
  const factor = f32x4.splat(prescale * GRID);
  let pairs = i32x4.add(i32x4.splat(firstPair), i32x4(0, 1, 2, 3));

  const end = input + (<usize>length << 2);
  for (; input < end; input += <usize>BLOCK_SIZE << 2, elements += BLOCK_BYTES, scales++) {
    const scale = blockScale(input, kept, leastScale);
    store<u8>(scales, <u8>scale);
    if (scale == E8M0_NAN) {
      v128.store(elements, i32x4.splat(0));
    } else {
      const inverse = f32x4.splat(inverseScale(scale));
      const second = i32x4.add(pairs, v128.load(EIGHT));
      v128.store(
        elements,
        packNibbles(
          stochastic16(input, inverse, factor, keys0, keys1, pairs),
          stochastic16(input + 64, inverse, factor, keys0, keys1, second),
        ),
      );
    }
    pairs = i32x4.add(pairs, i32x4.add(v128.load(EIGHT), v128.load(EIGHT)));
  }
}

/** Codes of 16 f32 at `input`, in i8 lanes; `pairs` counts the first four of its eight pairs. */
// @ts-ignore: decorator
@inline
function stochastic16(
  input: usize, inverse: v128, factor: v128, key0: v128, key1: v128, pairs: v128,
): v128 {
  const noiseLow = noise4(key0, key1, pairs);
  const noiseHigh = noise4(key0, key1, i32x4.add(pairs, v128.load(FOUR)));
  const halvesLow = ditherToHalves(grid8(input, inverse, factor), noiseLow);
  const halvesHigh = ditherToHalves(grid8(input + 32, inverse, factor), noiseHigh);
  const halves = i8x16.narrow_i16x8_s(halvesLow, halvesHigh);
  const coarse = i8x16.narrow_i16x8_s(coarseBits(noiseLow), coarseBits(noiseHigh));

  // E2M1's step is 1 half-unit below 2, 2 below 4, then 4: `fine` is what lies below the step.
  const fine = i8x16.swizzle(v128.load(BELOW_STEP), halves);
  const doubled = v128.andnot(i8x16.add(halves, v128.and(coarse, fine)), fine);
  const codes = i8x16.swizzle(v128.load(CODES), doubled);
  return v128.or(codes, signBits(input));
}

/** |x| · inverse · factor of 8 f32, to the nearest integer and at most 6 units, in i16 lanes. */
// @ts-ignore: decorator
@inline
function grid8(input: usize, inverse: v128, factor: v128): v128 {
  const a = f32x4.mul(f32x4.mul(f32x4.abs(v128.load(input)), inverse), factor);
  const b = f32x4.mul(f32x4.mul(f32x4.abs(v128.load(input, 16)), inverse), factor);
  const round = v128.load(ROUND);
  const grid = i16x8.narrow_i32x4_s(
    i32x4.sub(f32x4.add(a, round), round),
    i32x4.sub(f32x4.add(b, round), round),
  );
  return i16x8.min_s(grid, v128.load(GRID_MAX));
}

/** Grid steps to half-units, the low 11 bits of noise deciding what a remainder becomes. */
// @ts-ignore: decorator
@inline
function ditherToHalves(grid: v128, random: v128): v128 {
  return i16x8.shr_u(i16x8.add(grid, v128.and(random, v128.load(DITHER_MASK))), 11);
}

/** Bits 11 and 12 of each 16 bits of noise. */
// @ts-ignore: decorator
@inline
function coarseBits(random: v128): v128 {
  return v128.and(i16x8.shr_u(random, 11), i16x8.splat(3));
}
