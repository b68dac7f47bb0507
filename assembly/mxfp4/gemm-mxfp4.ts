/**
 * out = factor · a · bᵀ on MXFP4 panels, by exact integer products.
 *
 * Twice an E2M1 value is an integer of at most 12, so the 64 products of a group have an exact integer sum in any
 * order (mxfp4-dot.ts).
 *
 * The product of a group's sum with a power of two is exact too; only the additions over groups round, always in
 * order of k. A group whose blocks do not share a scale is summed in f64 and rounded to f32 once, which is
 * equivalent. So the result depends neither on the form of the dot product, nor on fused multiply-add, nor on the
 * blocking.
 */
import { E8M0_NAN } from "../mx/block";
import { multiplyAccumulating, multiplyPairwise, NONE, POWERS, turn } from "./mxfp4-dot";
import {
  A_GROUP_BYTES, A_SCALES, A_STARTS, B_GROUP_BYTES, B_SCALES, B_SCALE_BIAS, BLOCK_UNITS, GROUP,
  PANEL_HEADER_BYTES, SPLIT,
} from "./mxfp4-panel";
import { startTile, storeTile, TILE_BYTES, tileAddress } from "./product-tile";

/** Cut along m: this much of a's panel stays in the second-level cache. */
// @ts-ignore: decorator
@inline export const A_CACHE_BYTES: i32 = 384 * 1024;

/** i32 [2, 4, 2, 4]: dot products of a tile, for each block of a group. */
// @ts-ignore: decorator
@inline const DOTS: usize = memory.data(256, 16);

/**
 * Multiplies panels that `packMxfp4` wrote.
 *
 * A block of scale 255 makes its row or column NaN; magnitudes beyond f32 saturate to ±infinity or 0.
 *
 * Shapes:   out f32 [m, n]; a, b panels of m and n rows, with the same k
 * Requires: k % 32 == 0; accumulating 0 or 1: the form of the dot product, which does not change the result
 * Source:   OCP MX v1.0 §6.1 (dot product of two MX vectors); Algorithm 3 of arXiv 2502.20586
 */
export function gemmMxfp4(
  out: usize, a: usize, b: usize, m: i32, n: i32, k: i32, factor: f32, accumulating: i32,
): void {
  assert(k % 32 == 0, "k must be a multiple of 32");

  const groups = (k + GROUP - 1) / GROUP;
  const aLine = <usize>groups * A_GROUP_BYTES;
  const bLine = <usize>groups * B_GROUP_BYTES;
  const tile = tileAddress();
  const isWide = needsWideScales(a, b);
  const rowsTogether = max(4, (A_CACHE_BYTES / <i32>aLine) << 2);

  for (let m0 = 0; m0 < m; m0 += rowsTogether) {
    const mEnd = min(m, m0 + rowsTogether);
    for (let j = 0; j < n; j += 8) {
      const bPair = b + PANEL_HEADER_BYTES + <usize>(j >> 3) * bLine;
      let aStrip = a + PANEL_HEADER_BYTES + <usize>(m0 >> 2) * aLine;
      for (let i = m0; i < mEnd; i += 4, aStrip += aLine) {
        startTile(tile, i32x4.splat(0), i32x4.splat(0));
        let aGroup = aStrip;
        let bGroup = bPair;
        for (let group = 0; group < groups; group++) {
          if (isWide || isSplit(aGroup, bGroup)) addSplitGroup(tile, aGroup, bGroup, accumulating);
          else addGroup(tile, aGroup, bGroup, accumulating);
          aGroup += A_GROUP_BYTES;
          bGroup += B_GROUP_BYTES;
        }
        storeTile(tile, out, i, j, m, n, factor);
      }
    }
  }
}

/** Whether the two blocks of a group have separate scales, in a or in one of b's strips. */
// @ts-ignore: decorator
@inline
function isSplit(a: usize, b: usize): bool {
  const ofB = load<i32>(b, B_SCALES) | load<i32>(b, B_SCALES + 16);
  return <bool>((load<i32>(a, A_SCALES) | ofB) & SPLIT);
}

/** Bits of a group's largest sum, 64 · 24 · 24. */
// @ts-ignore: decorator
@inline const SUM_BITS: i32 = 16;

/**
 * Whether some sum of two scale exponents is outside of normal f32, or may take a group's sum beyond f32, or a block
 * holds a NaN.
 */
function needsWideScales(a: usize, b: usize): bool {
  const low = lowest(a) + lowest(b) - B_SCALE_BIAS;
  const high = highest(a) + highest(b) - B_SCALE_BIAS;
  return low < 1 || high > 254 - SUM_BITS || highest(a) == E8M0_NAN || highest(b) == E8M0_NAN;
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

/** A group whose blocks share their scales: one sum, exact in f32. */
// @ts-ignore: decorator
@inline
function addGroup(tile: usize, a: usize, b: usize, accumulating: i32): void {
  const start = i16x8.add(v128.load(a, A_STARTS), v128.load(a, A_STARTS + 16));
  const scaleA = v128.load(a, A_SCALES);
  if (accumulating) multiplyAccumulating(POWERS, tile, a, b, start, 2 * BLOCK_UNITS, scaleA);
  else multiplyPairwise(POWERS, tile, a, b, start, 2 * BLOCK_UNITS, scaleA);
}

/**
 * A group with any scales: its two blocks separately, added in f64. Their sum is exact in f64, or one is so much
 * smaller that the rounded sum is the other one, in f64 as in f32.
 */
function addSplitGroup(tile: usize, a: usize, b: usize, accumulating: i32): void {
  for (let block: usize = 0; block < 2; block++) {
    const start = v128.load(a + A_STARTS + (block << 4));
    const dots = DOTS + block * TILE_BYTES;
    const units = a + (block << 7);
    if (accumulating) multiplyAccumulating(NONE, dots, units, b + (block << 8), start, BLOCK_UNITS, start);
    else multiplyPairwise(NONE, dots, units, b + (block << 8), start, BLOCK_UNITS, start);
  }
  let scaleA0 = i32x4.shr_u(v128.load(a, A_SCALES), 23);
  let scaleA1 = i32x4.shr_u(v128.load(a, A_SCALES + 16), 23);
  for (let at: usize = 0; at < TILE_BYTES; at += 16) {
    const bits = b + B_SCALES + (at & 16);
    const bias = i32x4.splat(B_SCALE_BIAS);
    const scaleB0 = i32x4.add(i32x4.shr_s(v128.load(bits), 23), bias);
    const scaleB1 = i32x4.add(i32x4.shr_s(v128.load(bits, 32), 23), bias);
    const dots0 = v128.load(DOTS + at);
    const dots1 = v128.load(DOTS + at + TILE_BYTES);
    const low = f64x2.add(
      lowerProducts(dots0, scaleA0, scaleB0),
      lowerProducts(dots1, scaleA1, scaleB1),
    );
    const high = f64x2.add(
      lowerProducts(upperHalf(dots0), upperHalf(scaleA0), upperHalf(scaleB0)),
      lowerProducts(upperHalf(dots1), upperHalf(scaleA1), upperHalf(scaleB1)),
    );
    const sum = i64x2.shuffle(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
    v128.store(tile + at, f32x4.add(v128.load(tile + at), sum));
    if (at & 16) {
      scaleA0 = turn(scaleA0);
      scaleA1 = turn(scaleA1);
    }
  }
}

/** The lower two dot products times 2^(scale a + scale b − 256), in f64; NaN if a scale is 255. */
// @ts-ignore: decorator
@inline
function lowerProducts(dots: v128, scaleA: v128, scaleB: v128): v128 {
  // 1023 is the bias of f64, whose range includes all these powers.
  const exponent = i32x4.add(i32x4.add(scaleA, scaleB), i32x4.splat(1023 - 256));
  const power = i64x2.shl(i64x2.extend_low_i32x4_u(exponent), 52);
  const nan = i32x4.splat(E8M0_NAN);
  const isNaN = v128.or(i32x4.eq(scaleA, nan), i32x4.eq(scaleB, nan));
  const product = f64x2.mul(f64x2.convert_low_i32x4_s(dots), power);
  return v128.or(product, i64x2.extend_low_i32x4_s(isNaN));
}

/** [a, b, c, d] => [c, d, c, d] */
// @ts-ignore: decorator
@inline
function upperHalf(v: v128): v128 {
  return i64x2.shuffle(v, v, 1, 1);
}
