/** Quantizes one operand of an int6 GEMM into its panel (int6-panel.ts), or both operands of a product with itself. */
import {
  A_GROUP_BYTES, A_SCALE, A_START, B_GROUP_BYTES, B_SCALE, LIMIT,
} from "./int6-panel";
import {
  gather, MAGNITUDE, rowsTogether, STRIP_BYTES, STRIPS, TOPS, TOPS_BYTES, wholeStrips,
} from "../mxfp4/mxfp4-gather";
import { GROUP, placeOf, STRIP_ROWS, UNIT_BYTES } from "../mxfp4/mxfp4-panel";
import { integerUnit } from "../mxfp4/mxfp4-unit";

/** Bytes of 64 k of a row. */
// @ts-ignore: decorator
@inline const LINE_BYTES: usize = 256;
/** Bytes from the first four of a quarter's 16 vectors in the scratch to the next quarter. */
// @ts-ignore: decorator
@inline const QUARTER_BYTES: usize = 192;

/**
 * Quantizes `source` into `panel`, for `gemmInt6`: each group of 64 k of a row to integers of at most 31,
 * nearest-even, with the scale that maps its largest magnitude to 31.
 *
 * Shapes:   panel as in int6-panel.ts, for `rows` rounded up to 4 (side 0, a) or 8 (side 1, b); source
 *           f32, element (row, k) at row · rowStride + k · kStride; one stride is 1; scratch 4224
 *           bytes, 16-byte aligned
 * Special:  a group with a NaN or an infinity has that scale, and makes its row NaN; one whose
 *           largest magnitude is below 31 / 2^128 is zero
 * Requires: k % 64 == 0
 */
export function packInt6(
  panel: usize, source: usize, rows: i32, k: i32, rowStride: i32, kStride: i32, side: i32,
  scratch: usize,
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
        // If k is adjacent in memory, whole strips are read in place, without the scratch.
        const direct = rowStride == 1 ? 0 : wholeStrips(row, rows, strips);
        const behind = row + direct * STRIP_ROWS;
        for (let first = row; first < behind; first += STRIP_ROWS) {
          const line = source + ((<usize>first * <usize>rowStride + <usize>k0) << 2);
          packLines(column + placeOf(first, side, lineBytes), line, <usize>rowStride << 2, side);
        }
        if (direct == strips) continue;
        gather(scratch, source, behind, rows, strips - direct, k0, GROUP, rowStride, kStride);
        for (let strip = direct; strip < strips; strip++) {
          const first = row + strip * STRIP_ROWS;
          const values = scratch + <usize>(strip - direct) * STRIP_BYTES;
          const tops = scratch + TOPS + <usize>(strip - direct) * TOPS_BYTES;
          packGroup(column + placeOf(first, side, lineBytes), values, tops, side);
        }
      }
    }
  }
}

/** Writes one group of a strip. */
function packGroup(out: usize, values: usize, tops: usize, side: i32): void {
  const top = i32x4.max_s(v128.load(tops), v128.load(tops, 16));
  const factor = f32x4.div(f32x4.splat(<f32>LIMIT), top);
  const stride = side == 0 ? UNIT_BYTES : 2 * UNIT_BYTES;
  const offset = i8x16.splat(side == 0 ? 0 : <i8>LIMIT);
  let to = out;
  let sums = i16x8.splat(0);
  for (const end = values + STRIP_BYTES; values < end; values += QUARTER_BYTES) {
    for (const next = values + 64; values < next; values += 16, to += stride) {
      const integers = integerUnit(values, 64, factor);
      v128.store(to, i8x16.add(integers, offset));
      sums = i16x8.add(sums, i16x8.extadd_pairwise_i8x16_s(integers));
    }
  }
  endGroup(out, sums, top, side);
}

/** The same for four rows, `rowBytes` apart, whose k are adjacent: bytes are transposed, not f32. */
function packLines(out: usize, from: usize, rowBytes: usize, side: i32): void {
  const top = lineTops(from, from + rowBytes, from + 2 * rowBytes, from + 3 * rowBytes);
  const factors = f32x4.div(f32x4.splat(<f32>LIMIT), top);
  const factor0 = i32x4.shuffle(factors, factors, 0, 0, 0, 0);
  const factor1 = i32x4.shuffle(factors, factors, 1, 1, 1, 1);
  const factor2 = i32x4.shuffle(factors, factors, 2, 2, 2, 2);
  const factor3 = i32x4.shuffle(factors, factors, 3, 3, 3, 3);
  const stride = side == 0 ? UNIT_BYTES : 2 * UNIT_BYTES;
  const offset = i8x16.splat(side == 0 ? 0 : <i8>LIMIT);
  let to = out;
  let sums = i16x8.splat(0);
  for (const end = from + LINE_BYTES; from < end; from += 64, to += 4 * stride) {
    const row0 = integerUnit(from, 16, factor0);
    const row1 = integerUnit(from + rowBytes, 16, factor1);
    const row2 = integerUnit(from + 2 * rowBytes, 16, factor2);
    const row3 = integerUnit(from + 3 * rowBytes, 16, factor3);
    const low01 = i32x4.shuffle(row0, row1, 0, 4, 1, 5);
    const high01 = i32x4.shuffle(row0, row1, 2, 6, 3, 7);
    const low23 = i32x4.shuffle(row2, row3, 0, 4, 1, 5);
    const high23 = i32x4.shuffle(row2, row3, 2, 6, 3, 7);
    const unit0 = i64x2.shuffle(low01, low23, 0, 2);
    const unit1 = i64x2.shuffle(low01, low23, 1, 3);
    const unit2 = i64x2.shuffle(high01, high23, 0, 2);
    const unit3 = i64x2.shuffle(high01, high23, 1, 3);
    v128.store(to, i8x16.add(unit0, offset));
    v128.store(to + stride, i8x16.add(unit1, offset));
    v128.store(to + 2 * stride, i8x16.add(unit2, offset));
    v128.store(to + 3 * stride, i8x16.add(unit3, offset));
    // Four integers of at most 31 do not leave a byte.
    const four = i8x16.add(i8x16.add(unit0, unit1), i8x16.add(unit2, unit3));
    sums = i16x8.add(sums, i16x8.extadd_pairwise_i8x16_s(four));
  }
  endGroup(out, sums, top, side);
}

/** Writes a group's scales, and for side a the initial sums. */
// @ts-ignore: decorator
@inline
function endGroup(out: usize, sums: v128, top: v128, side: i32): void {
  const scale = f32x4.div(top, f32x4.splat(<f32>LIMIT));
  if (side == 0) {
    v128.store(out, i16x8.mul(sums, i16x8.splat(<i16>-LIMIT)), A_START);
    v128.store(out, scale, A_SCALE);
  } else {
    v128.store(out, scale, B_SCALE);
  }
}

/** Bits of the largest magnitude in each of four lines of 64 k. */
// @ts-ignore: decorator
@inline
function lineTops(line0: usize, line1: usize, line2: usize, line3: usize): v128 {
  const top0 = lineTop(line0);
  const top1 = lineTop(line1);
  const top2 = lineTop(line2);
  const top3 = lineTop(line3);
  const tops01 = i32x4.max_s(i32x4.shuffle(top0, top1, 0, 4, 1, 5), i32x4.shuffle(top0, top1, 2, 6, 3, 7));
  const tops23 = i32x4.max_s(i32x4.shuffle(top2, top3, 0, 4, 1, 5), i32x4.shuffle(top2, top3, 2, 6, 3, 7));
  return i32x4.max_s(i64x2.shuffle(tops01, tops23, 0, 2), i64x2.shuffle(tops01, tops23, 1, 3));
}

/** The same for one line, by lane. NaN sorts above infinity. */
function lineTop(line: usize): v128 {
  const magnitude = v128.load(MAGNITUDE);
  let even = i32x4.splat(0);
  let odd = even;
  for (const end = line + LINE_BYTES; line < end; line += 32) {
    even = i32x4.max_s(even, v128.and(v128.load(line), magnitude));
    odd = i32x4.max_s(odd, v128.and(v128.load(line, 16), magnitude));
  }
  return i32x4.max_s(even, odd);
}

/**
 * Converts a panel of side a to one of side b, with the same integers and scales, for a product of an operand with
 * itself.
 *
 * Shapes:   b, a panels of `rows` rows as in int6-panel.ts
 * Requires: rows % 8 == 0; k % 64 == 0
 */
export function repackInt6(b: usize, a: usize, rows: i32, k: i32): void {
  assert(rows % 8 == 0, "rows must be a multiple of 8");
  assert(k % GROUP == 0, "k must be a multiple of 64");

  const offset = i8x16.splat(<i8>LIMIT);
  const lineBytes = <usize>(k / GROUP) * A_GROUP_BYTES;
  for (let row = 0; row < rows; row += 2 * STRIP_ROWS, a += lineBytes) {
    for (const lineEnd = a + lineBytes; a < lineEnd; a += A_GROUP_BYTES, b += B_GROUP_BYTES) {
      let to = b;
      for (let from = a; from < a + A_START; from += UNIT_BYTES, to += 2 * UNIT_BYTES) {
        v128.store(to, i8x16.add(v128.load(from), offset));
        v128.store(to, i8x16.add(v128.load(from + lineBytes), offset), UNIT_BYTES);
      }
      v128.store(b, v128.load(a, A_SCALE), B_SCALE);
      v128.store(b, v128.load(a + lineBytes, A_SCALE), B_SCALE + 16);
    }
  }
}
