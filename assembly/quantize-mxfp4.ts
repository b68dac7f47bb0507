import { BLOCK_BYTES, BLOCK_SIZE, E8M0_NAN } from "./constants";
import { packNibbles, signBits } from "./e2m1";
import { blockScale, inverseScale } from "./e8m0";
import { noise4 } from "./noise";

/** Ties go to the even code (OCP MX v1.0 §6.3). */
// @ts-ignore: decorator
@inline const TIES_EVEN: i32 = 0;

/**
 * MXFP4 of `input`, rounded to nearest.
 *
 *   scales[b] = the scale rule's byte for block b
 *   element   = nearest E2M1 of prescale · x / 2^(scale − 127); magnitudes over 6 become 6
 *
 * The sign bit is kept, that of a zero too. A block with a NaN or an infinity has scale 255 and
 * elements 0; a zero block has scale 0.
 *
 * Shapes:   elements u8 [length / 2]; scales u8 [length / 32]; input f32 [length], 16-byte aligned
 * Requires: length % 32 == 0; ties 0 (even) or 1 (away from zero); scaleRule 0 (floor) or 1 (rceil)
 * Source:   OCP MX v1.0 §6.3; Algorithm 1 of arXiv 2502.20586
 */
export function quantizeNearestMxfp4(
  elements: usize, scales: usize, input: usize, length: i32,
  ties: i32, scaleRule: i32, prescale: f32,
): void {
  assert(length % BLOCK_SIZE == 0, "length must be a multiple of 32");
  assert((input & 15) == 0, "input must be 16-byte aligned");

  const end = input + (<usize>length << 2);
  for (; input < end; input += <usize>BLOCK_SIZE << 2, elements += BLOCK_BYTES, scales++) {
    const scale = blockScale(input, scaleRule);
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
  const low = i16x8.narrow_i32x4_s(
    nearest4(v128.load(input), inverse, factor, ties),
    nearest4(v128.load(input, 16), inverse, factor, ties),
  );
  const high = i16x8.narrow_i32x4_s(
    nearest4(v128.load(input, 32), inverse, factor, ties),
    nearest4(v128.load(input, 48), inverse, factor, ties),
  );
  return v128.or(i8x16.narrow_i16x8_s(low, high), signBits(input));
}

/**
 * Magnitude codes of four f32, in i32 lanes: the number of midpoints below |x| · inverse · factor.
 * A midpoint itself counts where the code above it is even, or always when ties go away from zero.
 */
// @ts-ignore: decorator
@inline
function nearest4(x: v128, inverse: v128, factor: v128, ties: i32): v128 {
  const v = f32x4.mul(f32x4.mul(f32x4.abs(x), inverse), factor);
  let below = f32x4.ge(v, f32x4.splat(0.75)); // each comparison gives −1 or 0
  below = i32x4.add(below, f32x4.ge(v, f32x4.splat(1.75)));
  below = i32x4.add(below, f32x4.ge(v, f32x4.splat(3.5)));
  if (ties == TIES_EVEN) {
    below = i32x4.add(below, f32x4.gt(v, f32x4.splat(0.25)));
    below = i32x4.add(below, f32x4.gt(v, f32x4.splat(1.25)));
    below = i32x4.add(below, f32x4.gt(v, f32x4.splat(2.5)));
    below = i32x4.add(below, f32x4.gt(v, f32x4.splat(5)));
  } else {
    below = i32x4.add(below, f32x4.ge(v, f32x4.splat(0.25)));
    below = i32x4.add(below, f32x4.ge(v, f32x4.splat(1.25)));
    below = i32x4.add(below, f32x4.ge(v, f32x4.splat(2.5)));
    below = i32x4.add(below, f32x4.ge(v, f32x4.splat(5)));
  }
  return i32x4.neg(below);
}

/** Steps of the dither grid in one unit (the value 1.0). */
// @ts-ignore: decorator
@inline const GRID: f32 = 4096;
/** The largest magnitude, 6, in steps of the dither grid. */
// @ts-ignore: decorator
@inline const GRID_MAX: i16 = 6 * 4096;

/**
 * MXFP4 of `input`, rounded stochastically.
 *
 *   scales[b] = the scale rule's byte for block b
 *   u         = prescale · |x| / 2^(scale − 127) to the nearest 1/4096 (ties even), at most 6
 *   h         = floor(2u + r / 2048), r the element's first 11 bits of noise: half-units, 0 … 12
 *   element   = (h + (t & d)) & ~d half-units, t its next 2 bits and d + 1 the local step of E2M1
 *
 * Both steps have the right mean, so E[element] = u: within 2^−13 of the exact value.
 * Special values are those of `quantizeNearestMxfp4`.
 *
 * Shapes:   elements u8 [length / 2]; scales u8 [length / 32]; input f32 [length], 16-byte aligned
 * Requires: length % 32 == 0; scaleRule 0 (floor) or 1 (rceil)
 * Random:   elements 2j and 2j + 1 take the halves of noise(key, firstPair + j): the same bytes on
 *           every machine, in whatever pieces a tensor is quantized
 * Meaning:  with floor and prescale 3/4, E[dequantize(result)] = 3/4 · input: a GEMM of two such
 *           operands is scaled by 16/9, one tensor by 4/3
 * Source:   Algorithm 2 of arXiv 2502.20586; the bit recipe is in docs/randomness.md
 */
export function quantizeStochasticMxfp4(
  elements: usize, scales: usize, input: usize, length: i32,
  scaleRule: i32, prescale: f32, key0: u32, key1: u32, firstPair: u32,
): void {
  assert(length % BLOCK_SIZE == 0, "length must be a multiple of 32");
  assert((input & 15) == 0, "input must be 16-byte aligned");

  const keys0 = i32x4.splat(key0);
  const keys1 = i32x4.splat(key1);
  const factor = f32x4.splat(prescale * GRID);
  let pairs = i32x4.add(i32x4.splat(firstPair), i32x4(0, 1, 2, 3));

  const end = input + (<usize>length << 2);
  for (; input < end; input += <usize>BLOCK_SIZE << 2, elements += BLOCK_BYTES, scales++) {
    const scale = blockScale(input, scaleRule);
    store<u8>(scales, <u8>scale);
    if (scale == E8M0_NAN) {
      v128.store(elements, i32x4.splat(0));
    } else {
      const inverse = f32x4.splat(inverseScale(scale));
      const second = i32x4.add(pairs, i32x4.splat(8));
      v128.store(
        elements,
        packNibbles(
          stochastic16(input, inverse, factor, keys0, keys1, pairs),
          stochastic16(input + 64, inverse, factor, keys0, keys1, second),
        ),
      );
    }
    pairs = i32x4.add(pairs, i32x4.splat(16));
  }
}

/** Codes of 16 f32 at `input`, in i8 lanes; `pairs` counts the first four of its eight pairs. */
// @ts-ignore: decorator
@inline
function stochastic16(
  input: usize, inverse: v128, factor: v128, key0: v128, key1: v128, pairs: v128,
): v128 {
  const noiseLow = noise4(key0, key1, pairs);
  const noiseHigh = noise4(key0, key1, i32x4.add(pairs, i32x4.splat(4)));
  const halvesLow = ditherToHalves(grid8(input, inverse, factor), noiseLow);
  const halvesHigh = ditherToHalves(grid8(input + 32, inverse, factor), noiseHigh);
  const halves = i8x16.narrow_i16x8_s(halvesLow, halvesHigh);
  const coarse = i8x16.narrow_i16x8_s(coarseBits(noiseLow), coarseBits(noiseHigh));

  // E2M1's step is 1 half-unit below 2, 2 below 4, then 4: `fine` is what lies below the step.
  const fine = i8x16.swizzle(i8x16(0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 0, 0, 0), halves);
  const doubled = v128.andnot(i8x16.add(halves, v128.and(coarse, fine)), fine);
  const codes = i8x16.swizzle(i8x16(0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7, 0, 0, 0), doubled);
  return v128.or(codes, signBits(input));
}

/** |x| · inverse · factor of 8 f32, to the nearest integer and at most 6 units, in i16 lanes. */
// @ts-ignore: decorator
@inline
function grid8(input: usize, inverse: v128, factor: v128): v128 {
  const a = f32x4.mul(f32x4.mul(f32x4.abs(v128.load(input)), inverse), factor);
  const b = f32x4.mul(f32x4.mul(f32x4.abs(v128.load(input, 16)), inverse), factor);
  const grid = i16x8.narrow_i32x4_s(
    i32x4.trunc_sat_f32x4_s(f32x4.nearest(a)),
    i32x4.trunc_sat_f32x4_s(f32x4.nearest(b)),
  );
  return i16x8.min_s(grid, i16x8.splat(GRID_MAX));
}

/** Grid steps to half-units, the low 11 bits of noise deciding what a remainder becomes. */
// @ts-ignore: decorator
@inline
function ditherToHalves(grid: v128, random: v128): v128 {
  return i16x8.shr_u(i16x8.add(grid, v128.and(random, i16x8.splat(2047))), 11);
}

/** Bits 11 and 12 of each 16 bits of noise. */
// @ts-ignore: decorator
@inline
function coarseBits(random: v128): v128 {
  return v128.and(i16x8.shr_u(random, 11), i16x8.splat(3));
}
