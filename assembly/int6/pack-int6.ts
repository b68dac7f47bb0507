/** Quantize one operand of an int6 GEMM straight into its panel (int6-panel.ts), or both of a product with itself. */
import {
  A_GROUP_BYTES, A_SCALE, A_START, B_GROUP_BYTES, B_SCALE, LIMIT,
} from "./int6-panel";
import { gather, STRIP_BYTES, STRIPS, TOPS, TOPS_BYTES } from "../mxfp4/mxfp4-gather";
import { GROUP, STRIP_ROWS, UNIT_BYTES } from "../mxfp4/mxfp4-panel";
import { integerUnit } from "../mxfp4/mxfp4-unit";

/**
 * Quantize `source` into `panel`, for `gemmInt6`: each group of 64 k of a row to the nearest integers
 * of at most 31, ties to even, at the scale that takes its largest magnitude to 31.
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
  for (let row = 0; row < paddedRows; row += STRIPS * STRIP_ROWS) {
    const strips = min(STRIPS, (paddedRows - row) / STRIP_ROWS);
    let column = panel;
    for (let k0 = 0; k0 < k; k0 += GROUP, column += groupBytes) {
      gather(scratch, source, row, rows, strips, k0, GROUP, rowStride, kStride);
      for (let strip = 0; strip < strips; strip++) {
        const first = row + strip * STRIP_ROWS;
        const out = column + <usize>(first / together) * lineBytes;
        const values = scratch + <usize>strip * STRIP_BYTES;
        const tops = scratch + TOPS + <usize>strip * TOPS_BYTES;
        packGroup(out, values, tops, side, <usize>(first & 4));
      }
    }
  }
}

/** One group of a strip; of b's, `half` is 0 for the first of its pair, 4 for the second. */
function packGroup(out: usize, values: usize, tops: usize, side: i32, half: usize): void {
  const limit = f32x4.splat(<f32>LIMIT);
  const top = i32x4.max_s(v128.load(tops), v128.load(tops, 16));
  const scale = f32x4.div(top, limit);
  const factor = f32x4.div(limit, top);
  const end = values + STRIP_BYTES;
  if (side == 0) {
    let sums = i16x8.splat(0);
    for (let to = out; values < end; values += 64, to += UNIT_BYTES) {
      const integers = integerUnit(values, factor);
      v128.store(to, integers);
      sums = i16x8.add(sums, i16x8.extadd_pairwise_i8x16_s(integers));
    }
    v128.store(out, i16x8.mul(sums, i16x8.splat(<i16>-LIMIT)), A_START);
    v128.store(out, scale, A_SCALE);
  } else {
    const offset = i8x16.splat(<i8>LIMIT);
    out += half << 2;
    for (let to = out; values < end; values += 64, to += 2 * UNIT_BYTES) {
      v128.store(to, i8x16.add(integerUnit(values, factor), offset));
    }
    v128.store(out, scale, B_SCALE);
  }
}

/**
 * b's panel of the rows that a's panel holds: the same integers and scales, for a product of an operand with itself.
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
