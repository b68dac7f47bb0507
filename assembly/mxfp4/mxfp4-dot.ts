/**
 * Integer dot products of one tile, 4 rows × 8 columns, in two forms with the same results. The bounds given are
 * MXFP4's; int6-panel.ts has those of int6.
 *
 * Instead of broadcasting, a unit of a is rotated by one row three times against the same two units of b: accumulator
 * (t, j) holds, in lane l, row (l + t) mod 4 and column 4j + l. Accumulators start at −24 · Σa, which cancels the
 * offset of b (mxfp4-panel.ts), in i16 lanes since the dot product adds pairs.
 */
import { B_SCALES } from "./mxfp4-panel";

/** 1 if one instruction multiplies, adds pairs and accumulates (AVX-VNNI, Arm dot product). */
export function accumulatesDots(): i32 {
  // Out of i7 range on purpose: with the two-step lowering the pair sums saturate at 32767.
  const operands = memory.data<i8>([127, -1]);
  const dot = i32x4.relaxed_dot_i8x16_i7x16_add_s(
    v128.load8_splat(operands),
    v128.load8_splat(operands, 1),
    i32x4.splat(0),
  );
  return <i32>(i32x4.extract_lane(dot, 0) != 65534);
}

/** [a, b, c, d] => [b, c, d, a] */
// @ts-ignore: decorator
@inline
export function turn(v: v128): v128 {
  return i32x4.shuffle(v, v, 1, 2, 3, 0);
}

/** Kinds of scales. NONE: the dot products are stored to `out`. Otherwise they are scaled and added to `out`. */
// @ts-ignore: decorator
@inline export const NONE: i32 = 0;
/** Powers of two, multiplied by adding their bits (mxfp4-panel.ts). */
// @ts-ignore: decorator
@inline export const POWERS: i32 = 1;
/** Any f32 (int6-panel.ts). */
// @ts-ignore: decorator
@inline export const NUMBERS: i32 = 2;

/**
 * One strip of a times one pair of strips of b, over `units` units; with scales, `out` is the tile, and `b` points at
 * a whole group.
 */

/** For machines whose dot product accumulates in i32. */
// @ts-ignore: decorator
@inline
export function multiplyAccumulating(
  scales: i32, out: usize, a: usize, b: usize, start: v128, units: i32, scaleA: v128,
): void {
  const scale0 = scaleOf(scales, b + B_SCALES);
  const scale1 = scaleOf(scales, b + B_SCALES + 16);
  let c00 = i32x4.extadd_pairwise_i16x8_s(start);
  let c01 = c00;
  let c10 = turn(c00);
  let c11 = c10;
  let c20 = turn(c10);
  let c21 = c20;
  let c30 = turn(c20);
  let c31 = c30;
  for (const end = a + (<usize>units << 4); a < end; a += 16, b += 32) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let rows = v128.load(a);
    c00 = i32x4.relaxed_dot_i8x16_i7x16_add_s(rows, b0, c00);
    c01 = i32x4.relaxed_dot_i8x16_i7x16_add_s(rows, b1, c01);
    rows = turn(rows);
    c10 = i32x4.relaxed_dot_i8x16_i7x16_add_s(rows, b0, c10);
    c11 = i32x4.relaxed_dot_i8x16_i7x16_add_s(rows, b1, c11);
    rows = turn(rows);
    c20 = i32x4.relaxed_dot_i8x16_i7x16_add_s(rows, b0, c20);
    c21 = i32x4.relaxed_dot_i8x16_i7x16_add_s(rows, b1, c21);
    rows = turn(rows);
    c30 = i32x4.relaxed_dot_i8x16_i7x16_add_s(rows, b0, c30);
    c31 = i32x4.relaxed_dot_i8x16_i7x16_add_s(rows, b1, c31);
  }
  put(scales, out, c00, c01, scaleA, scale0, scale1);
  scaleA = turn(scaleA);
  put(scales, out + 32, c10, c11, scaleA, scale0, scale1);
  scaleA = turn(scaleA);
  put(scales, out + 64, c20, c21, scaleA, scale0, scale1);
  scaleA = turn(scaleA);
  put(scales, out + 96, c30, c31, scaleA, scale0, scale1);
}

/**
 * For machines whose dot product leaves i16 pair sums. A lane may wrap in between, but its final value, a sum of 32
 * products of at most 24 · 24 (in int6, 31 · 31), fits.
 */
// @ts-ignore: decorator
@inline
export function multiplyPairwise(
  scales: i32, out: usize, a: usize, b: usize, start: v128, units: i32, scaleA: v128,
): void {
  const scale0 = scaleOf(scales, b + B_SCALES);
  const scale1 = scaleOf(scales, b + B_SCALES + 16);
  let c00 = start;
  let c01 = c00;
  let c10 = turn(c00);
  let c11 = c10;
  let c20 = turn(c10);
  let c21 = c20;
  let c30 = turn(c20);
  let c31 = c30;
  for (const end = a + (<usize>units << 4); a < end; a += 16, b += 32) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let rows = v128.load(a);
    c00 = i16x8.add(c00, i16x8.relaxed_dot_i8x16_i7x16_s(rows, b0));
    c01 = i16x8.add(c01, i16x8.relaxed_dot_i8x16_i7x16_s(rows, b1));
    rows = turn(rows);
    c10 = i16x8.add(c10, i16x8.relaxed_dot_i8x16_i7x16_s(rows, b0));
    c11 = i16x8.add(c11, i16x8.relaxed_dot_i8x16_i7x16_s(rows, b1));
    rows = turn(rows);
    c20 = i16x8.add(c20, i16x8.relaxed_dot_i8x16_i7x16_s(rows, b0));
    c21 = i16x8.add(c21, i16x8.relaxed_dot_i8x16_i7x16_s(rows, b1));
    rows = turn(rows);
    c30 = i16x8.add(c30, i16x8.relaxed_dot_i8x16_i7x16_s(rows, b0));
    c31 = i16x8.add(c31, i16x8.relaxed_dot_i8x16_i7x16_s(rows, b1));
  }
  put(scales, out, i32x4.extadd_pairwise_i16x8_s(c00), i32x4.extadd_pairwise_i16x8_s(c01), scaleA, scale0, scale1);
  scaleA = turn(scaleA);
  put(scales, out + 32, i32x4.extadd_pairwise_i16x8_s(c10), i32x4.extadd_pairwise_i16x8_s(c11), scaleA, scale0, scale1);
  scaleA = turn(scaleA);
  put(scales, out + 64, i32x4.extadd_pairwise_i16x8_s(c20), i32x4.extadd_pairwise_i16x8_s(c21), scaleA, scale0, scale1);
  scaleA = turn(scaleA);
  put(scales, out + 96, i32x4.extadd_pairwise_i16x8_s(c30), i32x4.extadd_pairwise_i16x8_s(c31), scaleA, scale0, scale1);
}

/**
 * Two adjacent vectors: out += dots · scale a · scale b, or out = dots. Loads come before stores, so that V8 may
 * merge both into one 256-bit vector.
 */
// @ts-ignore: decorator
@inline
function put(
  scales: i32, out: usize, dots0: v128, dots1: v128, scaleA: v128, scaleB0: v128, scaleB1: v128,
): void {
  if (scales == NONE) {
    v128.store(out, dots0);
    v128.store(out, dots1, 16);
    return;
  }
  const sum0 = v128.load(out);
  const sum1 = v128.load(out, 16);
  const next0 = added(scales, sum0, dots0, scaleA, scaleB0);
  const next1 = added(scales, sum1, dots1, scaleA, scaleB1);
  v128.store(out, next0);
  v128.store(out, next1, 16);
}

/** sum + dots · scale a · scale b */
// @ts-ignore: decorator
@inline
function added(scales: i32, sum: v128, dots: v128, scaleA: v128, scaleB: v128): v128 {
  const numbers = f32x4.convert_i32x4_s(dots);
  // A product with a power of two is exact, fused or not.
  if (scales == POWERS) return f32x4.relaxed_madd(numbers, i32x4.add(scaleA, scaleB), sum);
  return f32x4.add(sum, f32x4.mul(numbers, f32x4.mul(scaleA, scaleB)));
}

// @ts-ignore: decorator
@inline
function scaleOf(scales: i32, at: usize): v128 {
  return scales == NONE ? i32x4.splat(0) : v128.load(at);
}
