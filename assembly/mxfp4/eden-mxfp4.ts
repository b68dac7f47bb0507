/**
 * MXFP4 rounded to nearest, with an 8-bit factor per segment of 64 that compensates the shrinkage of rounding (EDEN).
 * For values rotated by a random Hadamard transform, the decoded values are nearly unbiased, with half the squared
 * error of stochastic rounding, for 8 bits per 64 values.
 *
 * The factor is ⟨x, x⟩ / ⟨x, Q(x)⟩, as in int6/pack-eden.ts. Magnitudes below 0.25 of the block's scale become 0,
 * those from 0.25 to 0.5 may grow, and those in (6, 8) become 6; with the block's largest in [4, 8), the factor lies
 * between 0.79 and 1.38. It is stored as (192 + code) / 256, from 0.75 to 1.746, rounded stochastically, so that its
 * mean is exact. A step of 1/256 adds less than 4e-6 of the squared norm to the error, against 0.013 from rounding.
 *
 * Source: Vargaftik et al., EDEN, arXiv 2108.08842
 */
import { noise } from "../random/noise";
import { BLOCK_SIZE } from "../mx/block";
import { dequantizeMxfp4 } from "./dequantize-mxfp4";
import { quantizeNearestMxfp4 } from "./quantize-mxfp4";

/** Values that share a factor. */
// @ts-ignore: decorator
@inline const SEGMENT: i32 = 64;
// @ts-ignore: decorator
@inline const SEGMENT_F32_BYTES: usize = 256;
/** The rounded values of one segment, as f32. */
// @ts-ignore: decorator
@inline const ROUNDED: usize = memory.data(<i32>SEGMENT_F32_BYTES, 16);
/** A code c means (LEAST + c) / ONE. */
// @ts-ignore: decorator
@inline const LEAST: i32 = 192;
// @ts-ignore: decorator
@inline const ONE: i32 = 256;

/**
 * Quantizes `input` to MXFP4 by Algorithm 1 (rule floor, ties to even), with the factor of each segment.
 *
 *   f          = ⟨x, x⟩ / ⟨x, Q(x)⟩ in f64: even elements summed in order, odd ones, then both
 *   factors[s] = floor(256 · f − 192 + r / 2^32), at least 0 and at most 255; r = noise(key, firstSegment + s)
 *
 * Special:  a segment that becomes zero, or has a NaN or an infinity, has factor 1
 * Shapes:   elements u8 [length / 2]; scales u8 [length / 32]; factors u8 [length / 64]; input f32 [length],
 *           16-byte aligned
 * Requires: length % 64 == 0
 * Random:   segment s takes noise(key, firstSegment + s)
 * Source:   Algorithm 1 of arXiv 2502.20586; arXiv 2108.08842
 */
export function quantizeEdenMxfp4(
  elements: usize, scales: usize, factors: usize, input: usize, length: i32,
  key0: u32, key1: u32, firstSegment: u32,
): void {
  assert(length % SEGMENT == 0, "length must be a multiple of 64");
  assert((input & 15) == 0, "input must be 16-byte aligned");

  quantizeNearestMxfp4(elements, scales, input, length, 0, 0, 1, 0);
  const end = input + (<usize>length << 2);
  for (; input < end; input += SEGMENT_F32_BYTES) {
    dequantizeMxfp4(ROUNDED, elements, scales, SEGMENT, 1);
    const dither = <f64>noise(key0, key1, firstSegment) / 4294967296.0;
    store<u8>(factors, factorCode(shrinking(input), dither));
    elements += SEGMENT >> 1;
    scales += SEGMENT / BLOCK_SIZE;
    factors++;
    firstSegment++;
  }
}

/**
 * f32 values of what `quantizeEdenMxfp4` wrote: element · 2^(scale − 127) · factor. Scale 255 gives NaN.
 *
 * Shapes:   out f32 [length], 16-byte aligned; elements u8 [length / 2]; scales u8 [length / 32]; factors u8
 *           [length / 64]
 * Requires: length % 64 == 0
 */
export function dequantizeEdenMxfp4(
  out: usize, elements: usize, scales: usize, factors: usize, length: i32,
): void {
  assert(length % SEGMENT == 0, "length must be a multiple of 64");
  assert((out & 15) == 0, "out must be 16-byte aligned");

  const end = out + (<usize>length << 2);
  for (; out < end; out += SEGMENT_F32_BYTES) {
    const factor = <f32>(LEAST + <i32>load<u8>(factors)) / <f32>ONE;
    dequantizeMxfp4(out, elements, scales, SEGMENT, factor);
    elements += SEGMENT >> 1;
    scales += SEGMENT / BLOCK_SIZE;
    factors++;
  }
}

/** ⟨x, x⟩ / ⟨x, Q(x)⟩ of a segment x, Q(x) in ROUNDED: products are exact in f64, and none overflows. */
function shrinking(x: usize): f64 {
  let xx = f64x2.splat(0);
  let xq = f64x2.splat(0);
  for (let i: usize = 0; i < SEGMENT_F32_BYTES; i += 8) {
    const value = f64x2.promote_low_f32x4(v128.load64_zero(x + i));
    const rounded = f64x2.promote_low_f32x4(v128.load64_zero(ROUNDED + i));
    xx = f64x2.add(xx, f64x2.mul(value, value));
    xq = f64x2.add(xq, f64x2.mul(value, rounded));
  }
  return (f64x2.extract_lane(xx, 0) + f64x2.extract_lane(xx, 1)) /
    (f64x2.extract_lane(xq, 0) + f64x2.extract_lane(xq, 1));
}

/** `dither` is in [0, 1). */
function factorCode(factor: f64, dither: f64): u8 {
  if (!isFinite(factor)) return <u8>(ONE - LEAST);
  const code = floor(factor * <f64>ONE - <f64>LEAST + dither);
  return <u8>max(0.0, min(255.0, code));
}
