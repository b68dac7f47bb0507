/**
 * Quantizes one operand of an MXFP4 GEMM into its panel: rotates (RHT), chooses scales, rounds.
 *
 * 64 k of four strips at a time: mxfp4-gather.ts copies them to a scratch, this file computes the scales, and
 * mxfp4-unit.ts rounds.
 */
import { E8M0_BIAS, E8M0_NAN } from "../mx/block";
import { E2M1_EMAX } from "./constants";
import {
  BLOCK_BYTES, gather, GATHERED_BYTES, rotateGroup, rowsTogether, STRIP_BYTES, STRIPS, TOPS,
  TOPS_BYTES,
} from "./mxfp4-gather";
import {
  A_GROUP_BYTES, A_SCALES, A_STARTS, B_GROUP_BYTES, B_OFFSET, B_SCALES, B_SCALE_BIAS, BLOCK_UNITS,
  GROUP, PANEL_HEADER_BYTES, placeOf, SPLIT, STRIP_ROWS, UNIT_BYTES,
} from "./mxfp4-panel";
import { drawUnitNoise, nearestUnit, NOISE_BYTES, ONES, stochasticUnit } from "./mxfp4-unit";

/**
 * Constants of the inner loops, one v128 each. In memory, because V8 rebuilds a v128 constant from
 * immediates at each use, which costs more than a load.
 */
// @ts-ignore: decorator
@inline const OFFSETS: usize = memory.data<u32>([0x18181818, 0x18181818, 0x18181818, 0x18181818], 16);
// @ts-ignore: decorator
@inline const NO_OFFSETS: usize = memory.data(16, 16);

// @ts-ignore: decorator
@inline const INFINITY_BITS: i32 = 0x7f800000;

/**
 * Quantizes `source` into `panel`, for `gemmMxfp4`.
 *
 * Scale rule floor. Stochastic with prescale 3/4 is Algorithm 2; neither is Algorithm 1, nearest-even. With signs,
 * RHT of each 64 along k first. The values are those of `hadamardF32` and `quantize…Mxfp4` on the same row; missing
 * rows are zero.
 *
 * Shapes:   panel as in mxfp4-panel.ts, for `rows` rounded up to 4 (side 0, a) or 8 (side 1, b);
 *           source f32, element (row, k) at row · rowStride + k · kStride; one stride is 1;
 *           signs f32 [64] or 0; scratch 4736 bytes, 16-byte aligned
 * Requires: k % 32 == 0, and k % 64 == 0 with signs; prescaled if stochastic
 * Random:   element (row, k) takes half of noise(key, (row · K + k) / 2): docs/randomness.md
 * Source:   Algorithms 1, 2 and 3 of arXiv 2502.20586
 */
export function packMxfp4(
  panel: usize, source: usize, rows: i32, k: i32, rowStride: i32, kStride: i32, side: i32,
  signs: usize, prescaled: i32, stochastic: i32, key0: u32, key1: u32, scratch: usize,
): void {
  assert(k % 32 == 0, "k must be a multiple of 32");
  assert(prescaled || !stochastic, "what is rounded stochastically must not reach beyond 6");
  assert(signs == 0 || k % GROUP == 0, "k must be a multiple of 64 to be rotated");
  assert(rowStride == 1 || kStride == 1, "one stride must be 1");
  assert((scratch & 15) == 0, "scratch must be 16-byte aligned");

  v128.store(panel, i32x4.splat(E8M0_NAN));
  v128.store(panel, i32x4.splat(0), 16);
  const paddedRows = side == 0 ? (rows + 3) & ~3 : (rows + 7) & ~7;
  const groupBytes = side == 0 ? A_GROUP_BYTES : B_GROUP_BYTES;
  const lineBytes = <usize>((k + GROUP - 1) / GROUP) * groupBytes; // of a strip of a, of a pair of b
  const body = panel + PANEL_HEADER_BYTES;
  const noise = scratch + GATHERED_BYTES;
  const rowsAtOnce = rowsTogether(rowStride);

  for (let row0 = 0; row0 < paddedRows; row0 += rowsAtOnce) {
    const end = min(row0 + rowsAtOnce, paddedRows);
    let column = body;
    for (let k0 = 0; k0 < k; k0 += GROUP, column += groupBytes) {
      for (let row = row0; row < end; row += STRIPS * STRIP_ROWS) {
        const strips = min(STRIPS, (end - row) / STRIP_ROWS);
        let normExponent = 0;
        if (signs) normExponent = rotateGroup(scratch, source, row, rows, strips, k0, rowStride, kStride, signs);
        else gather(scratch, source, row, rows, strips, k0, min(GROUP, k - k0), rowStride, kStride);
        for (let strip = 0; strip < strips; strip++) {
          const values = scratch + <usize>strip * STRIP_BYTES;
          chooseScales(scratch + TOPS + <usize>strip * TOPS_BYTES, normExponent, panel);
          const first = row + strip * STRIP_ROWS;
          if (stochastic) {
            const pairs = i32x4.add(rowCounters(first, k), i32x4.splat(k0 >> 1));
            drawUnitNoise(noise, 2, i32x4.splat(key0), i32x4.splat(key1), pairs);
          }
          const out = column + placeOf(first, side, lineBytes);
          packGroup(out, values, normExponent, side, prescaled, stochastic, noise);
        }
      }
    }
  }
}

/** (row · k) / 2 for four rows. */
// @ts-ignore: decorator
@inline
function rowCounters(first: i32, k: i32): v128 {
  const half = k >> 1;
  return i32x4.add(i32x4.splat(first * half), i32x4.mul(i32x4(0, 1, 2, 3), i32x4.splat(half)));
}

/** Writes one group of a strip: 16 units, the initial sums (for side a), and the scales of both blocks. */
// @ts-ignore: decorator
@inline
function packGroup(
  out: usize, values: usize, normExponent: i32, side: i32, prescaled: i32, stochastic: i32, noise: usize,
): void {
  const shared = sharedScales();
  const stride = side == 0 ? UNIT_BYTES : 2 * UNIT_BYTES;
  const offsets = v128.load(side == 0 ? NO_OFFSETS : OFFSETS);
  let units = out;
  for (let block: usize = 0; block < 2; block++) {
    const own = v128.load(CHOSEN + (block << 4));
    const sums = quantizeBlock(
      units, stride, offsets, values + block * BLOCK_BYTES, normExponent, own, shared,
      prescaled, stochastic, noise + block * NOISE_BYTES,
    );
    units += <usize>BLOCK_UNITS * stride;
    if (side == 0) {
      v128.store(out + (block << 4), i16x8.mul(sums, i16x8.splat(<i16>-B_OFFSET)), A_STARTS);
      v128.store(out + (block << 4), scaleWords(own, shared, 0), A_SCALES);
    } else {
      v128.store(out + (block << 5), scaleWords(own, shared, B_SCALE_BIAS), B_SCALES);
    }
  }
}

/** The scale words of a block, with SPLIT if the strip's two blocks do not share their scales. */
// @ts-ignore: decorator
@inline
function scaleWords(own: v128, shared: v128, bias: i32): v128 {
  const scale = i32x4.sub(i32x4.min_s(own, shared), i32x4.splat(bias));
  const split = v128.and(i32x4.eq(shared, i32x4.splat(E8M0_NAN)), i32x4.splat(SPLIT));
  return v128.or(i32x4.shl(scale, 23), split);
}

/** The scale bytes of a group's two blocks, i32 [2, 4], between `chooseScales` and their use. */
// @ts-ignore: decorator
@inline const CHOSEN: usize = memory.data(32, 16);

/**
 * Writes the scale bytes of both blocks, by rule floor, to CHOSEN, and widens the header's range by them. A zero
 * block takes the other's scale, and 127 if both are zero: its products are zero at any scale.
 */
// @ts-ignore: decorator
@inline
function chooseScales(tops: usize, normExponent: i32, header: usize): void {
  const top0 = v128.load(tops);
  const top1 = v128.load(tops, 16);
  let scale0 = floorScale(top0, normExponent);
  let scale1 = floorScale(top1, normExponent);
  // Minus one, unsigned, so that zeros are above everything finite.
  const one = v128.load(ONES);
  const most = i32x4.max_u(i32x4.sub(top0, one), i32x4.sub(top1, one));
  if (v128.any_true(i32x4.ge_u(most, i32x4.splat(INFINITY_BITS - 1)))) {
    const isZero0 = i32x4.eq(top0, i32x4.splat(0));
    const isZero1 = i32x4.eq(top1, i32x4.splat(0));
    const own0 = unusualScale(top0, scale0, isZero0);
    const own1 = unusualScale(top1, scale1, isZero1);
    scale0 = v128.bitselect(own1, own0, isZero0);
    scale1 = v128.bitselect(own0, own1, isZero1);
  }
  v128.store(header, i32x4.min_s(v128.load(header), i32x4.min_s(scale0, scale1)));
  v128.store(header, i32x4.max_s(v128.load(header, 16), i32x4.max_s(scale0, scale1)), 16);
  v128.store(CHOSEN, scale0);
  v128.store(CHOSEN, scale1, 16);
}

/** The smaller scale of each row, if the two scales of every row differ by at most one; otherwise 255, above any. */
// @ts-ignore: decorator
@inline
function sharedScales(): v128 {
  const scale0 = v128.load(CHOSEN);
  const scale1 = v128.load(CHOSEN, 16);
  const apart = i32x4.abs(i32x4.sub(scale0, scale1));
  const isShared = !v128.any_true(i32x4.gt_s(apart, i32x4.splat(1)));
  return isShared ? i32x4.min_s(scale0, scale1) : i32x4.splat(E8M0_NAN);
}

/**
 * Scale bytes by rule floor, from the bits of the blocks' largest magnitudes, which are finite and still lack the
 * factor 2^−normExponent.
 */
// @ts-ignore: decorator
@inline
function floorScale(top: v128, normExponent: i32): v128 {
  const exponent = i32x4.shr_u(top, 23);
  return i32x4.max_s(i32x4.sub(exponent, i32x4.splat(E2M1_EMAX + normExponent)), i32x4.splat(0));
}

/** `scale`; 127 for zeros; 255 for blocks that are not finite. */
// @ts-ignore: decorator
@inline
function unusualScale(top: v128, scale: v128, isZero: v128): v128 {
  const isFinite = i32x4.lt_s(top, i32x4.splat(INFINITY_BITS));
  const known = v128.bitselect(scale, i32x4.splat(E8M0_NAN), isFinite);
  return v128.bitselect(i32x4.splat(E8M0_BIAS), known, isZero);
}

/**
 * Writes the 8 units of one block, `stride` bytes apart, plus `offsets`; returns the sums of each row's integers
 * (before the offsets), in two i16 lanes per row. Rows whose own scale is above the shared one are doubled.
 */
// @ts-ignore: decorator
@inline
function quantizeBlock(
  out: usize, stride: usize, offsets: v128, from: usize, normExponent: i32, own: v128, shared: v128,
  prescaled: i32, stochastic: i32, noise: usize,
): v128 {
  const doubled = i32x4.gt_s(own, shared);
  // 2^(127 − scale), without the norm; any value for a NaN block, whose elements do not matter.
  const exponent = i32x4.max_s(i32x4.sub(i32x4.splat(254 - normExponent), own), i32x4.splat(2));
  // 3/4 of it: 1.5 · 2^−1
  const factor = prescaled
    ? v128.or(i32x4.shl(i32x4.sub(exponent, i32x4.splat(1)), 23), i32x4.splat(0x400000))
    : i32x4.shl(exponent, 23);
  // Eight integers of at most 12 do not leave a byte.
  let sums = i8x16.splat(0);
  if (stochastic) {
    for (let unit = 0; unit < BLOCK_UNITS; unit++, from += 64, out += stride, noise += 32) {
      const codes = stochasticUnit(from, factor, noise);
      storeUnit(out, codes, doubled, offsets);
      sums = i8x16.add(sums, codes);
    }
  } else {
    for (let unit = 0; unit < BLOCK_UNITS; unit++, from += 64, out += stride) {
      const codes = nearestUnit(from, factor);
      storeUnit(out, codes, doubled, offsets);
      sums = i8x16.add(sums, codes);
    }
  }
  const pairs = i16x8.extadd_pairwise_i8x16_s(sums);
  return i16x8.add(pairs, v128.and(pairs, doubled));
}

/** Stores one unit to `out`, with some rows doubled, plus the offsets. */
// @ts-ignore: decorator
@inline
function storeUnit(out: usize, codes: v128, doubled: v128, offsets: v128): void {
  v128.store(out, i8x16.add(i8x16.add(codes, v128.and(codes, doubled)), offsets));
}
