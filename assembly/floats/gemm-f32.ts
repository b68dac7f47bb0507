/**
 * out = a · bᵀ in f32: pack both operands, then run a register tile over the panels.
 *
 * A panel is cut into strips of `width` rows (4 for a, 8 for b); within a strip k runs outermost,
 * so the tile reads both operands front to back:
 *
 *   panel[strip][k][width] = source[strip · width + row, k]        missing rows are 0
 *
 * Packing reads any strides, so a transposed operand costs nothing extra, and may round to bf16.
 * Each output element is one chain of multiply-adds in order of k, so blocking never changes a bit.
 */
import { transposeTile } from "../simd/transpose";

/** Rows of a in a tile. */
// @ts-ignore: decorator
@inline export const A_WIDTH: i32 = 4;
/** Rows of b, columns of out, in a tile. */
// @ts-ignore: decorator
@inline export const B_WIDTH: i32 = 8;
/** 1 where the engine takes two v128 side by side as one vector of 256 bits, which then has registers for taller tiles. */
let wide: i32 = 0;

export function useWideVectors(isWide: i32): void {
  wide = isWide;
}

/** Cut along k: one strip of b, 16 KiB, stays in the first-level cache. */
// @ts-ignore: decorator
@inline const K_BLOCK: i32 = 512;
/** Cut along m: this many rows of a, 256 KiB, stay in the second-level cache. */
// @ts-ignore: decorator
@inline const M_BLOCK: i32 = 128;

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

/** Rows that lie in one cache line where rows are adjacent. */
// @ts-ignore: decorator
@inline const LINE_ROWS: i32 = 16;

/** 16 adjacent rows: a whole cache line of the source at a time, to four strips of 4 or two of 8. */
// @ts-ignore: decorator
@inline
function packLines<T>(out: usize, source: usize, k: i32, kBytes: usize, width: i32): void {
  const outBytes = <usize>width << 2;
  const stripBytes = <usize>k * outBytes;
  // The second quad of a strip of 8 follows the first; of strips of 4, each is a strip of its own.
  const second: usize = width == 8 ? <usize>16 : stripBytes;
  const third = width == 8 ? stripBytes : 2 * stripBytes;
  for (; k > 0; k--) {
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
    for (; row + LINE_ROWS <= rows; row += LINE_ROWS) {
      const to = out + ((<usize>row * <usize>k) << 2);
      packLines<T>(to, source + (<usize>row << 2), k, kBytes, width);
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

/**
 * out (+)= a · bᵀ from packed panels.
 *
 * Shapes:   out f32 [m, n], rows outStride elements apart; aPanels [ceil(m / 4), k, 4];
 *           bPanels [ceil(n / 8), k, 8]
 * Meaning:  with accumulate each sum starts from the value in out, else from 0
 */
export function gemmF32(
  out: usize,
  outStride: i32,
  aPanels: usize,
  bPanels: usize,
  m: i32,
  n: i32,
  k: i32,
  accumulate: i32,
): void {
  assert(m >= 0 && n >= 0 && k >= 0, "sizes must not be negative");
  assert(outStride >= n, "rows of out must not overlap");

  gemmPanels(out, outStride, aPanels, k, bPanels, k, m, n, k, accumulate, n);
}

/**
 * `gemmF32` on panels packed for a longer k, of which the first `k` count: aK and bK as packed. Eight rows by eight
 * columns that lie wholly above the `diagonal`, column > row + diagonal, are left out.
 */
export function gemmPanels(
  out: usize,
  outStride: i32,
  aPanels: usize,
  aK: i32,
  bPanels: usize,
  bK: i32,
  m: i32,
  n: i32,
  k: i32,
  accumulate: i32,
  diagonal: i32,
): void {
  const rowBytes = <usize>outStride << 2;
  const aStripBytes = <usize>(aK * A_WIDTH) << 2;
  const bStripBytes = <usize>(bK * B_WIDTH) << 2;
  let k0: i32 = 0;
  // At least once, so that k = 0 writes zeros.
  do {
    const kBlock = min(K_BLOCK, k - k0);
    const aBlock = aPanels + (<usize>(k0 * A_WIDTH) << 2);
    const bBlock = bPanels + (<usize>(k0 * B_WIDTH) << 2);
    const add = accumulate | i32(k0 > 0);
    for (let m0 = 0; m0 < m; m0 += M_BLOCK) {
      const mEnd = min(m0 + M_BLOCK, m);
      let b = bBlock;
      for (let column = 0; column < n; column += B_WIDTH) {
        const first = max(m0, (column - diagonal) & -B_WIDTH);
        let a = aBlock + <usize>(first / A_WIDTH) * aStripBytes;
        let to = out + <usize>first * rowBytes + (<usize>column << 2);
        const columns = min(B_WIDTH, n - column);
        for (let row = first; row < mEnd; row += A_WIDTH) {
          const rows = min(A_WIDTH, mEnd - row);
          if (wide && columns == B_WIDTH && mEnd - row >= 2 * A_WIDTH) {
            multiplyTallTile(to, rowBytes, a, a + aStripBytes, b, kBlock, add);
            row += A_WIDTH;
            a += 2 * aStripBytes;
            to += <usize>(2 * A_WIDTH) * rowBytes;
            continue;
          }
          if (rows == A_WIDTH && columns == B_WIDTH) {
            multiplyTile(to, rowBytes, a, b, kBlock, add);
          } else {
            multiplyEdge(to, rowBytes, a, b, kBlock, add, rows, columns);
          }
          a += aStripBytes;
          to += <usize>A_WIDTH * rowBytes;
        }
        b += bStripBytes;
      }
    }
    k0 += K_BLOCK;
  } while (k0 < k);
}

/** A tile that hangs over the edge of `out`: through a scratch tile. */
function multiplyEdge(
  out: usize,
  rowBytes: usize,
  a: usize,
  b: usize,
  k: i32,
  accumulate: i32,
  rows: i32,
  columns: i32,
): void {
  const tile = memory.data(128, 16);
  const tileBytes: usize = <usize>B_WIDTH << 2;
  if (accumulate) {
    for (let row = 0; row < rows; row++) {
      memory.copy(
        tile + <usize>row * tileBytes,
        out + <usize>row * rowBytes,
        <usize>columns << 2,
      );
    }
  }
  multiplyTile(tile, tileBytes, a, b, k, accumulate);
  for (let row = 0; row < rows; row++) {
    memory.copy(
      out + <usize>row * rowBytes,
      tile + <usize>row * tileBytes,
      <usize>columns << 2,
    );
  }
}

/** What a tile starts from that does not accumulate. */
// @ts-ignore: decorator
@inline const ZEROS: usize = memory.data<f32>([0, 0, 0, 0, 0, 0, 0, 0], 16);

/** out (+)= a strip · b stripᵀ: 4 × 8 sums in registers. `rowBytes` between rows of out. */
function multiplyTile(
  out: usize,
  rowBytes: usize,
  a: usize,
  b: usize,
  k: i32,
  accumulate: i32,
): void {
  const from = accumulate ? out : ZEROS;
  const fromBytes = accumulate ? rowBytes : 0;
  const out1 = out + rowBytes;
  const out2 = out1 + rowBytes;
  const out3 = out2 + rowBytes;
  const from1 = from + fromBytes;
  const from2 = from1 + fromBytes;
  const from3 = from2 + fromBytes;
  let c00 = v128.load(from);
  let c01 = v128.load(from, 16);
  let c10 = v128.load(from1);
  let c11 = v128.load(from1, 16);
  let c20 = v128.load(from2);
  let c21 = v128.load(from2, 16);
  let c30 = v128.load(from3);
  let c31 = v128.load(from3, 16);
  for (const end = a + (<usize>k << 4); a < end; a += 16, b += 32) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0123 = v128.load(a);
    const a0 = v128.shuffle<f32>(a0123, a0123, 0, 0, 0, 0);
    c00 = f32x4.relaxed_madd(a0, b0, c00);
    c01 = f32x4.relaxed_madd(a0, b1, c01);
    const a1 = v128.shuffle<f32>(a0123, a0123, 1, 1, 1, 1);
    c10 = f32x4.relaxed_madd(a1, b0, c10);
    c11 = f32x4.relaxed_madd(a1, b1, c11);
    const a2 = v128.shuffle<f32>(a0123, a0123, 2, 2, 2, 2);
    c20 = f32x4.relaxed_madd(a2, b0, c20);
    c21 = f32x4.relaxed_madd(a2, b1, c21);
    const a3 = v128.shuffle<f32>(a0123, a0123, 3, 3, 3, 3);
    c30 = f32x4.relaxed_madd(a3, b0, c30);
    c31 = f32x4.relaxed_madd(a3, b1, c31);
  }
  v128.store(out, c00);
  v128.store(out, c01, 16);
  v128.store(out1, c10);
  v128.store(out1, c11, 16);
  v128.store(out2, c20);
  v128.store(out2, c21, 16);
  v128.store(out3, c30);
  v128.store(out3, c31, 16);
}

/** The same of two strips of a: 8 × 8 sums, as many chains as two 256-bit units need to be busy. */
function multiplyTallTile(
  out: usize,
  rowBytes: usize,
  a: usize, secondA: usize,
  b: usize,
  k: i32,
  accumulate: i32,
): void {
  const from = accumulate ? out : ZEROS;
  const fromBytes = accumulate ? rowBytes : 0;
  const out1 = out + rowBytes;
  const out2 = out1 + rowBytes;
  const out3 = out2 + rowBytes;
  const out4 = out3 + rowBytes;
  const out5 = out4 + rowBytes;
  const out6 = out5 + rowBytes;
  const out7 = out6 + rowBytes;
  const from1 = from + fromBytes;
  const from2 = from1 + fromBytes;
  const from3 = from2 + fromBytes;
  const from4 = from3 + fromBytes;
  const from5 = from4 + fromBytes;
  const from6 = from5 + fromBytes;
  const from7 = from6 + fromBytes;
  let c00 = v128.load(from);
  let c01 = v128.load(from, 16);
  let c10 = v128.load(from1);
  let c11 = v128.load(from1, 16);
  let c20 = v128.load(from2);
  let c21 = v128.load(from2, 16);
  let c30 = v128.load(from3);
  let c31 = v128.load(from3, 16);
  let c40 = v128.load(from4);
  let c41 = v128.load(from4, 16);
  let c50 = v128.load(from5);
  let c51 = v128.load(from5, 16);
  let c60 = v128.load(from6);
  let c61 = v128.load(from6, 16);
  let c70 = v128.load(from7);
  let c71 = v128.load(from7, 16);
  for (const end = a + (<usize>k << 4); a < end; a += 16, secondA += 16, b += 32) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0123 = v128.load(a);
    const a0 = v128.shuffle<f32>(a0123, a0123, 0, 0, 0, 0);
    c00 = f32x4.relaxed_madd(a0, b0, c00);
    c01 = f32x4.relaxed_madd(a0, b1, c01);
    const a1 = v128.shuffle<f32>(a0123, a0123, 1, 1, 1, 1);
    c10 = f32x4.relaxed_madd(a1, b0, c10);
    c11 = f32x4.relaxed_madd(a1, b1, c11);
    const a2 = v128.shuffle<f32>(a0123, a0123, 2, 2, 2, 2);
    c20 = f32x4.relaxed_madd(a2, b0, c20);
    c21 = f32x4.relaxed_madd(a2, b1, c21);
    const a3 = v128.shuffle<f32>(a0123, a0123, 3, 3, 3, 3);
    c30 = f32x4.relaxed_madd(a3, b0, c30);
    c31 = f32x4.relaxed_madd(a3, b1, c31);
    const a4567 = v128.load(secondA);
    const a4 = v128.shuffle<f32>(a4567, a4567, 0, 0, 0, 0);
    c40 = f32x4.relaxed_madd(a4, b0, c40);
    c41 = f32x4.relaxed_madd(a4, b1, c41);
    const a5 = v128.shuffle<f32>(a4567, a4567, 1, 1, 1, 1);
    c50 = f32x4.relaxed_madd(a5, b0, c50);
    c51 = f32x4.relaxed_madd(a5, b1, c51);
    const a6 = v128.shuffle<f32>(a4567, a4567, 2, 2, 2, 2);
    c60 = f32x4.relaxed_madd(a6, b0, c60);
    c61 = f32x4.relaxed_madd(a6, b1, c61);
    const a7 = v128.shuffle<f32>(a4567, a4567, 3, 3, 3, 3);
    c70 = f32x4.relaxed_madd(a7, b0, c70);
    c71 = f32x4.relaxed_madd(a7, b1, c71);
  }
  v128.store(out, c00);
  v128.store(out, c01, 16);
  v128.store(out1, c10);
  v128.store(out1, c11, 16);
  v128.store(out2, c20);
  v128.store(out2, c21, 16);
  v128.store(out3, c30);
  v128.store(out3, c31, 16);
  v128.store(out4, c40);
  v128.store(out4, c41, 16);
  v128.store(out5, c50);
  v128.store(out5, c51, 16);
  v128.store(out6, c60);
  v128.store(out6, c61, 16);
  v128.store(out7, c70);
  v128.store(out7, c71, 16);
}
