/**
 * Quantizes one operand of a GEMM into its panel: rotated, rounded to nearest, with a factor per rotated segment that
 * compensates the shrinkage of rounding (EDEN).
 *
 * Stochastic rounding is unbiased, but has twice the squared error of rounding to nearest, which shrinks values in
 * E2M1. The factor ⟨x, x⟩ / ⟨x, Q(x)⟩ of a segment undoes nearly all of the shrinkage, averaged over rotations. E8M0
 * could not represent it, but a product allows any f32 as a scale, so this uses the panel of 6-bit integers
 * (int6-panel.ts).
 *
 * Source: Vargaftik et al., EDEN, arXiv 2108.08842; for gradients of 4 bits Quartet II, arXiv 2601.22813
 */
import {
  A_GROUP_BYTES, A_SCALE, A_START, B_GROUP_BYTES, B_SCALE, LIMIT,
} from "./int6-panel";
import { E8M0_NAN } from "../mx/block";
import { E2M1_EMAX } from "../mxfp4/constants";
import {
  BLOCK_BYTES, rotateGroup, rowsTogether, STRIP_BYTES, STRIPS, TOPS, TOPS_BYTES,
} from "../mxfp4/mxfp4-gather";
import { BLOCK_UNITS, GROUP, placeOf, STRIP_ROWS, UNIT_BYTES } from "../mxfp4/mxfp4-panel";
import { nearestE2M1, unitOf } from "../mxfp4/mxfp4-unit";

/**
 * Quantizes `source` into `panel`, for `gemmInt6`: RHT of each 64 along k, Algorithm 1 (scale rule floor,
 * nearest-even), times the factor. The scales of a segment's two blocks differ by at most one binade: a smaller one
 * is raised to half of the larger.
 *
 * Shapes:   panel as in int6-panel.ts, for `rows` rounded up to 4 (side 0, a) or 8 (side 1, b); source
 *           f32, element (row, k) at row · rowStride + k · kStride; one stride is 1; signs f32 [64];
 *           scratch 4224 bytes, 16-byte aligned
 * Special:  a segment with a NaN or an infinity makes its row NaN; one whose largest magnitude is below
 *           2^−124, and the other block's below 2^−123, is zero
 * Requires: k % 64 == 0
 */
export function packEden(
  panel: usize, source: usize, rows: i32, k: i32, rowStride: i32, kStride: i32, side: i32,
  signs: usize, scratch: usize,
): void {
  assert(k % GROUP == 0, "k must be a multiple of 64");
  assert(rowStride == 1 || kStride == 1, "one stride must be 1");
  assert((scratch & 15) == 0, "scratch must be 16-byte aligned");

  const together = side == 0 ? STRIP_ROWS : 2 * STRIP_ROWS;
  const paddedRows = (rows + together - 1) & -together;
  const groupBytes = side == 0 ? A_GROUP_BYTES : B_GROUP_BYTES;
  const lineBytes = <usize>(k / GROUP) * groupBytes;
  const rowsAtOnce = rowsTogether(rowStride);
  for (let row0 = 0; row0 < paddedRows; row0 += rowsAtOnce) {
    const end = min(row0 + rowsAtOnce, paddedRows);
    let column = panel;
    for (let k0 = 0; k0 < k; k0 += GROUP, column += groupBytes) {
      for (let row = row0; row < end; row += STRIPS * STRIP_ROWS) {
        const strips = min(STRIPS, (end - row) / STRIP_ROWS);
        const normExponent = rotateGroup(scratch, source, row, rows, strips, k0, rowStride, kStride, signs);
        for (let strip = 0; strip < strips; strip++) {
          const first = row + strip * STRIP_ROWS;
          const out = column + placeOf(first, side, lineBytes);
          const values = scratch + <usize>strip * STRIP_BYTES;
          const tops = scratch + TOPS + <usize>strip * TOPS_BYTES;
          packGroup(out, values, tops, normExponent, side);
        }
      }
    }
  }
}

/** Writes one group of a strip: 16 units, the initial sums (for side a), and the scales. */
function packGroup(out: usize, values: usize, tops: usize, normExponent: i32, side: i32): void {
  const stride = side == 0 ? UNIT_BYTES : 2 * UNIT_BYTES;
  const scale = quantizeGroup(out, stride, side == 0 ? 0 : LIMIT, values, tops, normExponent);
  if (side == 0) {
    let sums = i16x8.splat(0);
    for (let unit: usize = 0; unit < 2 * <usize>BLOCK_UNITS * UNIT_BYTES; unit += UNIT_BYTES) {
      sums = i16x8.add(sums, i16x8.extadd_pairwise_i8x16_s(v128.load(out + unit)));
    }
    v128.store(out, i16x8.mul(sums, i16x8.splat(<i16>-LIMIT)), A_START);
    v128.store(out, scale, A_SCALE);
  } else {
    v128.store(out, scale, B_SCALE);
  }
}

/** Writes 16 units, `stride` bytes apart, plus `offset`; returns the scale of each of the four rows. */
// @ts-ignore: decorator
@inline
function quantizeGroup(
  out: usize, stride: usize, offset: i32, values: usize, tops: usize, normExponent: i32,
): v128 {
  const own0 = floorScale(v128.load(tops), normExponent);
  const own1 = floorScale(v128.load(tops, 16), normExponent);
  const one = i32x4.splat(1);
  const shared = i32x4.max_s(
    i32x4.min_s(own0, own1),
    i32x4.sub(i32x4.max_s(own0, own1), one),
  );
  const offsets = i8x16.splat(<i8>offset);
  let xx = f32x4.splat(0);
  let xq = f32x4.splat(0);
  for (let block: usize = 0; block < 2; block++) {
    const own = i32x4.max_s(block ? own1 : own0, shared);
    const doubled = i32x4.gt_s(own, shared);
    // 2^(127 − scale), without the norm; any value for a block with a NaN, whose elements do not matter.
    const exponent = i32x4.max_s(i32x4.sub(i32x4.splat(254 - normExponent), own), one);
    const factor = i32x4.shl(exponent, 23);
    // Both sums in units of the shared scale.
    const weight = v128.bitselect(f32x4.splat(4), f32x4.splat(1), doubled);
    let blockXX = f32x4.splat(0);
    let blockXQ = f32x4.splat(0);
    for (const end = values + BLOCK_BYTES; values < end; values += 64, out += stride) {
      const x0 = f32x4.mul(v128.load(values), factor);
      const x1 = f32x4.mul(v128.load(values, 16), factor);
      const x2 = f32x4.mul(v128.load(values, 32), factor);
      const x3 = f32x4.mul(v128.load(values, 48), factor);
      const q0 = nearestE2M1(x0);
      const q1 = nearestE2M1(x1);
      const q2 = nearestE2M1(x2);
      const q3 = nearestE2M1(x3);
      blockXX = f32x4.add(blockXX, sumOfProducts(x0, x0, x1, x1, x2, x2, x3, x3));
      blockXQ = f32x4.add(blockXQ, sumOfProducts(x0, q0, x1, q1, x2, q2, x3, q3));
      const codes = unitOf(q0, q1, q2, q3);
      const integers = i8x16.add(codes, v128.and(codes, doubled));
      v128.store(out, i8x16.add(integers, offsets));
    }
    xx = f32x4.add(xx, f32x4.mul(blockXX, weight));
    xq = f32x4.add(xq, f32x4.mul(blockXQ, weight));
  }
  // A group that becomes zero has scale 0, whatever it was divided by: x / 0 must not make it NaN. A NaN stays one.
  const ratio = f32x4.div(xx, xq);
  const eden = v128.andnot(ratio, f32x4.eq(xq, f32x4.splat(0)));
  // 2^(shared − 127), and half of it, since the integers are twice E2M1.
  return f32x4.mul(f32x4.mul(eden, i32x4.shl(shared, 23)), f32x4.splat(0.5));
}

/** (a0 · b0 + a1 · b1) + (a2 · b2 + a3 · b3) */
// @ts-ignore: decorator
@inline
function sumOfProducts(
  a0: v128, b0: v128, a1: v128, b1: v128, a2: v128, b2: v128, a3: v128, b3: v128,
): v128 {
  return f32x4.add(
    f32x4.add(f32x4.mul(a0, b0), f32x4.mul(a1, b1)),
    f32x4.add(f32x4.mul(a2, b2), f32x4.mul(a3, b3)),
  );
}

/**
 * Scale bytes by rule floor, from the bits of the blocks' largest magnitudes, which still lack the factor
 * 2^−normExponent.
 */
// @ts-ignore: decorator
@inline
function floorScale(top: v128, normExponent: i32): v128 {
  const exponent = i32x4.shr_u(top, 23);
  const finite = i32x4.max_s(
    i32x4.sub(exponent, i32x4.splat(E2M1_EMAX + normExponent)),
    i32x4.splat(0),
  );
  return v128.bitselect(exponent, finite, i32x4.eq(exponent, i32x4.splat(E8M0_NAN)));
}
