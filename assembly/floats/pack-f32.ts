/**
 * Panels of f32 for gemm-f32.ts. A panel is cut into strips of `width` rows (4 for a, 8 for b); within a strip k runs
 * outermost, so a tile reads both operands front to back:
 *
 *   panel[strip][k][width] = source[strip · width + row, k]        missing rows are 0
 *
 * Packing reads any strides, so a transposed operand costs nothing extra, and may round to bf16.
 */
import { transposeTile } from "../simd/transpose";
import { A_WIDTH, B_WIDTH } from "./tile-f32";

/**
 * Pack `source` for `gemmF32`.
 *
 * Shapes:   out f32 [ceil(rows / width), k, width]; source f32, element (row, k) at
 *           row · rowStride + k · kStride (strides in elements); width 4 or 8
 * Special:  with roundToBf16 every value is rounded to the nearest bf16, ties to even; NaN stays NaN
 */
export function packF32(
  out: usize,
  source: usize,
  rows: i32,
  k: i32,
  rowStride: i32,
  kStride: i32,
  width: i32,
  roundToBf16: i32,
): void {
  assert(width == A_WIDTH || width == B_WIDTH, "width must be 4 or 8");
  assert(rows >= 0 && k >= 0, "sizes must not be negative");

  if (roundToBf16) packQuads<bool>(out, source, rows, k, rowStride, kStride, width);
  else packQuads<f32>(out, source, rows, k, rowStride, kStride, width);
}

/** Number of rows in one cache line if rows are adjacent in memory. */
// @ts-ignore: decorator
@inline const LINE_ROWS: i32 = 16;

/** 16 adjacent rows: a whole cache line of the source at a time, to four strips of 4 or two of 8. */
// @ts-ignore: decorator
@inline
function packLines<T>(
  out: usize,
  source: usize,
  lines: i32,
  kBytes: usize,
  k: i32,
  width: i32,
): void {
  const outBytes = <usize>width << 2;
  const stripBytes = <usize>k * outBytes;
  // The second quad of a strip of 8 follows the first; of strips of 4, each is a strip of its own.
  const second: usize = width == 8 ? <usize>16 : stripBytes;
  const third = width == 8 ? stripBytes : 2 * stripBytes;
  for (; lines > 0; lines--) {
    v128.store(out, rounded<T>(v128.load(source)));
    v128.store(out + second, rounded<T>(v128.load(source, 16)));
    v128.store(out + third, rounded<T>(v128.load(source, 32)));
    v128.store(out + third + second, rounded<T>(v128.load(source, 48)));
    source += kBytes;
    out += outBytes;
  }
}

/** Four rows of a strip at a time. Type `bool` rounds to bf16, `f32` copies. */
function packQuads<T>(
  out: usize,
  source: usize,
  rows: i32,
  k: i32,
  rowStride: i32,
  kStride: i32,
  width: i32,
): void {
  const rowBytes = <usize>rowStride << 2;
  const kBytes = <usize>kStride << 2;
  const outBytes = <usize>width << 2;
  const paddedRows = ((rows + width - 1) / width) * width;

  let row: i32 = 0;
  if (rowStride == 1) {
    row = rows & -LINE_ROWS;
    // Read two adjacent cache lines, which processors fetch together, before the next k: the source is read page by
    // page, and few strips are written at a time.
    const block = 64 / width;
    for (let pair = 0; pair < row; pair += 2 * LINE_ROWS) {
      const end = min(row, pair + 2 * LINE_ROWS);
      for (let k0 = 0; k0 < k; k0 += block) {
        const lines = min(block, k - k0);
        const from = source + <usize>k0 * kBytes;
        for (let line = pair; line < end; line += LINE_ROWS) {
          const to = out + ((<usize>line * <usize>k + <usize>(k0 * width)) << 2);
          packLines<T>(to, from + (<usize>line << 2), lines, kBytes, k, width);
        }
      }
    }
  }
  for (; row < paddedRows; row += 4) {
    const inStrip = row % width;
    let to = out + ((<usize>(row - inStrip) * <usize>k + <usize>inStrip) << 2);
    let from = source + <usize>row * rowBytes;
    const present = min(4, rows - row);
    let i: i32 = 0;
    if (present == 4 && rowStride == 1) {
      for (; i < k; i++) {
        v128.store(to, rounded<T>(v128.load(from)));
        from += kBytes;
        to += outBytes;
      }
    } else if (present == 4 && kStride == 1) {
      for (; i + 4 <= k; i += 4) {
        transposeTile(to, outBytes, from, rowBytes);
        if (isBoolean<T>()) {
          for (let end = to + 4 * outBytes, at = to; at < end; at += outBytes) {
            v128.store(at, rounded<T>(v128.load(at)));
          }
        }
        from += 16;
        to += 4 * outBytes;
      }
    }
    for (; i < k; i++) {
      let v = f32x4.splat(0);
      if (present > 0) v = f32x4.replace_lane(v, 0, load<f32>(from));
      if (present > 1) v = f32x4.replace_lane(v, 1, load<f32>(from + rowBytes));
      if (present > 2) v = f32x4.replace_lane(v, 2, load<f32>(from + 2 * rowBytes));
      if (present > 3) v = f32x4.replace_lane(v, 3, load<f32>(from + 3 * rowBytes));
      v128.store(to, rounded<T>(v));
      from += kBytes;
      to += outBytes;
    }
  }
}

/** 1, just below half of a bf16's last bit, and the bits that a bf16 keeps: loaded, as in exp.ts. */
// @ts-ignore: decorator
@inline const ROUNDING: usize = memory.data<u32>([
  1, 1, 1, 1, 0x7fff, 0x7fff, 0x7fff, 0x7fff, 0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000,
], 16);

/** f32 lanes rounded to the nearest bf16, ties to even, or as they are. */
// @ts-ignore: decorator
@inline
function rounded<T>(v: v128): v128 {
  if (!isBoolean<T>()) return v;
  const odd = v128.and(i32x4.shr_u(v, 16), v128.load(ROUNDING));
  const sum = i32x4.add(i32x4.add(v, v128.load(ROUNDING, 16)), odd);
  const bits = v128.and(sum, v128.load(ROUNDING, 32));
  // A NaN's payload could carry into the sign; it stays as it is.
  return v128.bitselect(v, bits, f32x4.ne(v, v));
}
