import { BLOCK_F32_BYTES, E8M0_NAN } from "./block";
import { inverseScale } from "./e8m0";

/** Constants of the inner loop, in memory: V8 rebuilds a v128 constant from immediates at each use. */
// @ts-ignore: decorator
@inline const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);
// @ts-ignore: decorator
@inline const EXPONENT: usize = memory.data<u32>([0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000], 16);
/** Difference in f32 bits from one binade to the next. */
// @ts-ignore: decorator
@inline const ONE_BINADE: usize = memory.data<u32>([0x00800000, 0x00800000, 0x00800000, 0x00800000], 16);

/**
 * Halves a block's scale if that reduces its squared error. `scales` are the smallest at which nothing clips
 * (SCALE_RCEIL), each R = 2^(byte − 127).
 *
 *   scales[b] −= 1 if Σ (u − q(u))² at R / 2 less that at R is below 0; u = prescale · |x|, q to nearest
 *
 * No other power of two does better. The values at 2R that u can reach are a subset of those at R. At R / 4 the
 * largest u is off by more than max · R / 4 = 1.5 R (MXFP4; by more for larger u), while the 31 others gain at most
 * (R / 4)² each, less than 2 R²; for 8-bit elements they gain even less.
 *
 * Differences of squares, in units of R / 2, are summed in f32: lane i has elements i, i + 4, …, i + 28 in order;
 * then lanes (0 + 2) + (1 + 3), so that every machine decides the same. Blocks with scale 255 and `least` are not
 * changed.
 *
 * Shapes:   scales u8 [blocks]; f32 [32 · blocks] from `input` to `end`
 * Types:    `leastNormal` and `stepRound` point at v128s: the smallest normal value, and the number that rounds to
 *           nearest when it is added to the bits of a binade; `max` is the largest value
 */
export function halveScales(
  scales: usize, input: usize, end: usize, least: i32, prescale: f32,
  leastNormal: usize, stepRound: usize, max: f32,
): void {
  const step = v128.load(stepRound);
  const finest = i32x4.add(v128.load(leastNormal), step);
  const coarsest = i32x4.add(finest, v128.load(ONE_BINADE));
  const most = f32x4.splat(max);
  for (; input < end; input += BLOCK_F32_BYTES, scales++) {
    const scale: i32 = load<u8>(scales);
    if (scale == E8M0_NAN || scale <= least) continue;
    const factor = f32x4.splat(inverseScale(scale - 1) * prescale);
    let sums = difference(v128.load(input), factor, step, finest, coarsest, most);
    sums = f32x4.add(sums, difference(v128.load(input, 16), factor, step, finest, coarsest, most));
    sums = f32x4.add(sums, difference(v128.load(input, 32), factor, step, finest, coarsest, most));
    sums = f32x4.add(sums, difference(v128.load(input, 48), factor, step, finest, coarsest, most));
    sums = f32x4.add(sums, difference(v128.load(input, 64), factor, step, finest, coarsest, most));
    sums = f32x4.add(sums, difference(v128.load(input, 80), factor, step, finest, coarsest, most));
    sums = f32x4.add(sums, difference(v128.load(input, 96), factor, step, finest, coarsest, most));
    sums = f32x4.add(sums, difference(v128.load(input, 112), factor, step, finest, coarsest, most));
    const pairs = f32x4.add(sums, i32x4.shuffle(sums, sums, 2, 3, 0, 1));
    const sum = f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
    if (sum < 0) store<u8>(scales, <u8>(scale - 1));
  }
}

/** The squared errors of 4 f32 at half the scale, less those at the scale. */
// @ts-ignore: decorator
@inline
function difference(
  x: v128, factor: v128, step: v128, finest: v128, coarsest: v128, most: v128,
): v128 {
  const u = v128.and(f32x4.mul(x, factor), v128.load(MAGNITUDE));
  // Above their least normal values both have the same steps.
  const round = i32x4.add(v128.and(u, v128.load(EXPONENT)), step);
  const fine = f32x4.sub(u, f32x4.pmin(nearest(u, i32x4.max_s(round, finest)), most));
  const coarse = f32x4.sub(u, nearest(u, i32x4.max_s(round, coarsest)));
  return f32x4.sub(f32x4.mul(fine, fine), f32x4.mul(coarse, coarse));
}

/** `u` to the nearest multiple of the last bit of `round`. */
// @ts-ignore: decorator
@inline
function nearest(u: v128, round: v128): v128 {
  return f32x4.sub(f32x4.add(u, round), round);
}
