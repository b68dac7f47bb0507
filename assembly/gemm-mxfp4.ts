/**
 * out = factor · a · bᵀ on MXFP4 panels, by exact integer products.
 *
 * Twice an E2M1 value is an integer of at most 12, so the 64 products of a group sum to an integer
 * that is exact however it is added up, and one relaxed dot does 16 of them. A tile is 4 rows × 8
 * columns. Instead of broadcasting, a unit of a is rotated by one row three times against the same
 * two units of b: accumulator (t, j) holds, in lane l, row (l + t) mod 4 and column 4j + l. The
 * accumulators start at −24 · Σa, which takes out the offset of b for free (mxfp4-panel.ts).
 *
 * A group's sum is exact, and so is its product with a power of two; only the additions across
 * groups round, always in order of k. A group whose blocks could not share a scale is added up in f64
 * and rounded to f32 once, which is the same. So the result does not depend on the form of the dot, on
 * how the machine multiplies and adds, or on the blocking.
 */
import { E8M0_NAN } from "./constants";
import {
  A_GROUP_BYTES, A_SCALES, A_SUMS, B_GROUP_BYTES, B_SCALES, B_SCALE_BIAS, BLOCK_UNITS, GROUP,
  PANEL_HEADER_BYTES,
} from "./mxfp4-panel";

/** Cut along m: this much of a's panel stays in the second-level cache. */
// @ts-ignore: decorator
@inline const A_CACHE_BYTES: i32 = 384 * 1024;

/** 1 where one instruction multiplies, adds pairs and accumulates (AVX-VNNI, Arm dot product). */
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

/**
 * Multiply panels that `packMxfp4` wrote.
 *
 * A block of scale 255 makes its row or column NaN; magnitudes beyond f32 saturate to ±infinity or 0.
 *
 * Shapes:   out f32 [m, n]; a, b panels of m and n rows, with the same k
 * Requires: k % 32 == 0; accumulating 0 or 1: which form of the dot is used, not what comes out
 * Source:   OCP MX v1.0 §6.1 (dot product of two MX vectors); Algorithm 3 of arXiv 2502.20586
 */
export function gemmMxfp4(
  out: usize, a: usize, b: usize, m: i32, n: i32, k: i32, factor: f32, accumulating: i32,
): void {
  assert(k % 32 == 0, "k must be a multiple of 32");

  const groups = (k + GROUP - 1) / GROUP;
  const aLine = <usize>groups * A_GROUP_BYTES;
  const bLine = <usize>groups * B_GROUP_BYTES;
  const isWide = needsWideScales(a, b);
  const rowsTogether = max(4, (A_CACHE_BYTES / <i32>aLine) << 2);
  const tile = memory.data(128, 16);

  for (let m0 = 0; m0 < m; m0 += rowsTogether) {
    const mEnd = min(m, m0 + rowsTogether);
    for (let j = 0; j < n; j += 8) {
      const bPair = b + PANEL_HEADER_BYTES + <usize>(j >> 3) * bLine;
      let aStrip = a + PANEL_HEADER_BYTES + <usize>(m0 >> 2) * aLine;
      for (let i = m0; i < mEnd; i += 4, aStrip += aLine) {
        for (let at: usize = 0; at < 128; at += 16) v128.store(tile + at, f32x4.splat(0));
        let aGroup = aStrip;
        let bGroup = bPair;
        for (let group = 0; group < groups; group++) {
          if (isWide || isSplit(aGroup, bGroup)) addSplitGroup(tile, aGroup, bGroup);
          else if (accumulating) addGroupAccumulating(tile, aGroup, bGroup);
          else addGroupPairwise(tile, aGroup, bGroup);
          aGroup += A_GROUP_BYTES;
          bGroup += B_GROUP_BYTES;
        }
        storeTile(out, tile, i, j, m, n, factor);
      }
    }
  }
}

/** Whether the two blocks of a group have scales of their own, in a or in b. */
// @ts-ignore: decorator
@inline
function isSplit(a: usize, b: usize): bool {
  const ofA = v128.xor(v128.load(a, A_SCALES), v128.load(a, A_SCALES + 16));
  const ofB0 = v128.xor(v128.load(b, B_SCALES), v128.load(b, B_SCALES + 32));
  const ofB1 = v128.xor(v128.load(b, B_SCALES + 16), v128.load(b, B_SCALES + 48));
  return v128.any_true(v128.or(ofA, v128.or(ofB0, ofB1)));
}

/** Whether some sum of two scales is not the exponent of a normal f32, or a block holds a NaN. */
function needsWideScales(a: usize, b: usize): bool {
  const low = lowest(a) + lowest(b) - B_SCALE_BIAS;
  const high = highest(a) + highest(b) - B_SCALE_BIAS;
  return low < 1 || high > 254 || highest(a) == E8M0_NAN || highest(b) == E8M0_NAN;
}

// @ts-ignore: decorator
@inline
function lowest(panel: usize): i32 {
  return min(min(load<i32>(panel), load<i32>(panel, 4)), min(load<i32>(panel, 8), load<i32>(panel, 12)));
}

// @ts-ignore: decorator
@inline
function highest(panel: usize): i32 {
  return max(
    max(load<i32>(panel, 16), load<i32>(panel, 20)),
    max(load<i32>(panel, 24), load<i32>(panel, 28)),
  );
}

/** [a, b, c, d] => [b, c, d, a] */
// @ts-ignore: decorator
@inline
function turn(v: v128): v128 {
  return i32x4.shuffle(v, v, 1, 2, 3, 0);
}

/** One group where the dot accumulates in i32 by itself. */
// @ts-ignore: decorator
@inline
function addGroupAccumulating(tile: usize, a: usize, b: usize): void {
  let c00 = i32x4.add(v128.load(a, A_SUMS), v128.load(a, A_SUMS + 16));
  let c01 = c00;
  let c10 = turn(c00);
  let c11 = c10;
  let c20 = turn(c10);
  let c21 = c20;
  let c30 = turn(c20);
  let c31 = c30;
  let unit = b;
  for (const end = a + A_SUMS; a < end; a += 16, unit += 32) {
    const b0 = v128.load(unit);
    const b1 = v128.load(unit, 16);
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
  let scale = v128.load(a, A_SCALES - A_SUMS);
  const scale0 = v128.load(b, B_SCALES);
  const scale1 = v128.load(b, B_SCALES + 16);
  addBlock(tile, c00, i32x4.add(scale, scale0));
  addBlock(tile + 16, c01, i32x4.add(scale, scale1));
  scale = turn(scale);
  addBlock(tile + 32, c10, i32x4.add(scale, scale0));
  addBlock(tile + 48, c11, i32x4.add(scale, scale1));
  scale = turn(scale);
  addBlock(tile + 64, c20, i32x4.add(scale, scale0));
  addBlock(tile + 80, c21, i32x4.add(scale, scale1));
  scale = turn(scale);
  addBlock(tile + 96, c30, i32x4.add(scale, scale0));
  addBlock(tile + 112, c31, i32x4.add(scale, scale1));
}

/**
 * One group where the dot ends in i16 pairs. A lane sums 32 products, at most 16 · 12 · 36 of a plain
 * block and 16 · 24 · 48 of a doubled one: 25344 fits.
 */
// @ts-ignore: decorator
@inline
function addGroupPairwise(tile: usize, a: usize, b: usize): void {
  let c00 = i16x8.splat(0);
  let c01 = c00;
  let c10 = c00;
  let c11 = c00;
  let c20 = c00;
  let c21 = c00;
  let c30 = c00;
  let c31 = c00;
  let unit = b;
  for (const end = a + A_SUMS; a < end; a += 16, unit += 32) {
    const b0 = v128.load(unit);
    const b1 = v128.load(unit, 16);
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
  let sums = i32x4.add(v128.load(a), v128.load(a, 16));
  let scale = v128.load(a, A_SCALES - A_SUMS);
  const scale0 = v128.load(b, B_SCALES);
  const scale1 = v128.load(b, B_SCALES + 16);
  addBlock(tile, wholeDots(c00, sums), i32x4.add(scale, scale0));
  addBlock(tile + 16, wholeDots(c01, sums), i32x4.add(scale, scale1));
  sums = turn(sums);
  scale = turn(scale);
  addBlock(tile + 32, wholeDots(c10, sums), i32x4.add(scale, scale0));
  addBlock(tile + 48, wholeDots(c11, sums), i32x4.add(scale, scale1));
  sums = turn(sums);
  scale = turn(scale);
  addBlock(tile + 64, wholeDots(c20, sums), i32x4.add(scale, scale0));
  addBlock(tile + 80, wholeDots(c21, sums), i32x4.add(scale, scale1));
  sums = turn(sums);
  scale = turn(scale);
  addBlock(tile + 96, wholeDots(c30, sums), i32x4.add(scale, scale0));
  addBlock(tile + 112, wholeDots(c31, sums), i32x4.add(scale, scale1));
}

/** i16 pair sums of a block and −12 · Σa to whole dot products. */
// @ts-ignore: decorator
@inline
function wholeDots(pairs: v128, sums: v128): v128 {
  return i32x4.add(i32x4.extadd_pairwise_i16x8_s(pairs), sums);
}

/** tile += dots · 2^(scale a + scale b − 256); `scale` has the bits of that power. */
// @ts-ignore: decorator
@inline
function addBlock(tile: usize, dots: v128, scale: v128): void {
  const product = f32x4.mul(f32x4.convert_i32x4_s(dots), scale);
  v128.store(tile, f32x4.add(v128.load(tile), product));
}

/** One group with any scales, its two blocks apart: slower, for the few that need it. */
function addSplitGroup(tile: usize, a: usize, b: usize): void {
  for (let t: i32 = 0; t < 4; t++) {
    for (let j: usize = 0; j < 32; j += 16) {
      let low = f64x2.splat(0);
      let high = f64x2.splat(0);
      for (let block: usize = 0; block < 2; block++) {
        const dots = i32x4.add(
          turned(v128.load(a + A_SUMS + (block << 4)), t),
          i32x4.extadd_pairwise_i16x8_s(blockPairs(a + (block << 7), b + (block << 8) + j, t)),
        );
        const scaleA = turned(i32x4.shr_u(v128.load(a + A_SCALES + (block << 4)), 23), t);
        const bits = v128.load(b + B_SCALES + (block << 5) + j);
        const scaleB = i32x4.add(i32x4.shr_s(bits, 23), i32x4.splat(B_SCALE_BIAS));
        low = f64x2.add(low, scaledHalf(dots, scaleA, scaleB));
        high = f64x2.add(
          high,
          scaledHalf(upperHalf(dots), upperHalf(scaleA), upperHalf(scaleB)),
        );
      }
      const sum = i64x2.shuffle(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
      const at = tile + (<usize>t << 5) + j;
      v128.store(at, f32x4.add(v128.load(at), sum));
    }
  }
}

/** i16 pair sums of one block: rows turned `t` times against one strip of b. */
// @ts-ignore: decorator
@inline
function blockPairs(a: usize, b: usize, t: i32): v128 {
  let pairs = i16x8.splat(0);
  for (let unit = 0; unit < BLOCK_UNITS; unit++, a += 16, b += 32) {
    const rows = turned(v128.load(a), t);
    pairs = i16x8.add(pairs, i16x8.relaxed_dot_i8x16_i7x16_s(rows, v128.load(b)));
  }
  return pairs;
}

// @ts-ignore: decorator
@inline
function turned(v: v128, times: i32): v128 {
  for (; times > 0; times--) v = turn(v);
  return v;
}

/** [a, b, c, d] => [c, d, c, d] */
// @ts-ignore: decorator
@inline
function upperHalf(v: v128): v128 {
  return i64x2.shuffle(v, v, 1, 1);
}

/** The lower two dots times 2^(scale a + scale b − 256), in f64; NaN where a scale is 255. */
// @ts-ignore: decorator
@inline
function scaledHalf(dots: v128, scaleA: v128, scaleB: v128): v128 {
  // −256 as in the fast path, + 1023 for the bias of f64: within its normal range for all bytes.
  const exponent = i32x4.add(i32x4.add(scaleA, scaleB), i32x4.splat(1023 - B_SCALE_BIAS - 127));
  const power = i64x2.shl(i64x2.extend_low_i32x4_u(exponent), 52);
  const nan = i32x4.splat(E8M0_NAN);
  const isNaN = v128.or(i32x4.eq(scaleA, nan), i32x4.eq(scaleB, nan));
  const product = f64x2.mul(f64x2.convert_low_i32x4_s(dots), power);
  return v128.or(product, i64x2.extend_low_i32x4_s(isNaN));
}

/** Put the tile's diagonals back in rows, times the factor, and store what lies inside of out. */
function storeTile(out: usize, tile: usize, i: i32, j: i32, m: i32, n: i32, factor: f32): void {
  const columns = min(8, n - j);
  const factors = f32x4.splat(factor);
  for (let half = 0; half < 2 && (half << 2) < columns; half++) {
    const from = tile + (<usize>half << 4);
    const t0 = f32x4.mul(v128.load(from), factors);
    const t1 = f32x4.mul(v128.load(from, 32), factors);
    const t2 = f32x4.mul(v128.load(from, 64), factors);
    const t3 = f32x4.mul(v128.load(from, 96), factors);
    const to = out + ((<usize>i * <usize>n + <usize>(j + (half << 2))) << 2);
    const count = min(4, columns - (half << 2));
    storeRow(to, count, n, 0, m - i, diagonal(t0, t3, t2, t1));
    storeRow(to, count, n, 1, m - i, diagonal(t1, t0, t3, t2));
    storeRow(to, count, n, 2, m - i, diagonal(t2, t1, t0, t3));
    storeRow(to, count, n, 3, m - i, diagonal(t3, t2, t1, t0));
  }
}

/** [a0, b1, c2, d3] */
// @ts-ignore: decorator
@inline
function diagonal(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.shuffle(a, b, 0, 5, 2, 7);
  const cd = i32x4.shuffle(c, d, 0, 5, 2, 7);
  return i64x2.shuffle(ab, cd, 0, 3);
}

// @ts-ignore: decorator
@inline
function storeRow(to: usize, count: i32, n: i32, row: i32, rows: i32, values: v128): void {
  if (row >= rows) return;
  const at = to + ((<usize>row * <usize>n) << 2);
  if (count == 4) {
    v128.store(at, values);
    return;
  }
  store<f32>(at, f32x4.extract_lane(values, 0));
  if (count > 1) store<f32>(at, f32x4.extract_lane(values, 1), 4);
  if (count > 2) store<f32>(at, f32x4.extract_lane(values, 2), 8);
}
