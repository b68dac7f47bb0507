/**
 * out = a · bᵀ in f32: a register tile runs over packed panels (pack-f32.ts).
 *
 * Each output element is one chain of multiply-adds in order of k, so blocking never changes a bit.
 */
import { A_WIDTH, B_WIDTH, multiplyTallTile, multiplyTile, ZEROS } from "./tile-f32";

/** 1 if the engine merges two adjacent v128 into one 256-bit vector, which leaves registers for taller tiles. */
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
 * out = start + a · bᵀ from packed panels.
 *
 * Shapes:   out f32 [m, n], rows outStride elements apart; aPanels [ceil(m / 4), k, 4];
 *           bPanels [ceil(n / 8), k, 8]; start is out itself, or f32 [n] for every row, or 0 for zeros
 */
export function gemmF32(
  out: usize,
  outStride: i32,
  aPanels: usize,
  bPanels: usize,
  m: i32,
  n: i32,
  k: i32,
  start: usize,
): void {
  assert(m >= 0 && n >= 0 && k >= 0, "sizes must not be negative");
  assert(outStride >= n, "rows of out must not overlap");

  gemmPanels(out, outStride, aPanels, k, bPanels, k, m, n, k, start, n);
}

/**
 * `gemmF32` on panels packed for longer k (aK, bK), of which the first `k` are used. 8 × 8 blocks entirely above the
 * `diagonal`, column > row + diagonal, are not computed.
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
  start: usize,
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
    const goesOn = start == out || k0 > 0;
    for (let m0 = 0; m0 < m; m0 += M_BLOCK) {
      const mEnd = min(m0 + M_BLOCK, m);
      let b = bBlock;
      for (let column = 0; column < n; column += B_WIDTH) {
        const first = max(m0, (column - diagonal) & -B_WIDTH);
        let a = aBlock + <usize>(first / A_WIDTH) * aStripBytes;
        let to = out + <usize>first * rowBytes + (<usize>column << 2);
        const columns = min(B_WIDTH, n - column);
        // Initial values of the sums; later k blocks continue from `out`.
        const startsAt = start ? start + (<usize>column << 2) : ZEROS;
        const fromBytes = goesOn ? rowBytes : 0;
        for (let row = first; row < mEnd; row += A_WIDTH) {
          const rows = min(A_WIDTH, mEnd - row);
          const from = goesOn ? to : startsAt;
          if (wide && columns == B_WIDTH && mEnd - row >= 2 * A_WIDTH) {
            multiplyTallTile(to, rowBytes, from, fromBytes, a, a + aStripBytes, b, kBlock);
            row += A_WIDTH;
            a += 2 * aStripBytes;
            to += <usize>(2 * A_WIDTH) * rowBytes;
            continue;
          }
          if (rows == A_WIDTH && columns == B_WIDTH) {
            multiplyTile(to, rowBytes, from, fromBytes, a, b, kBlock);
          } else {
            multiplyEdge(to, rowBytes, from, fromBytes, a, b, kBlock, rows, columns);
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

/** A tile that extends over the edge of `out`, computed in a scratch tile. */
function multiplyEdge(
  out: usize,
  rowBytes: usize,
  from: usize,
  fromBytes: usize,
  a: usize,
  b: usize,
  k: i32,
  rows: i32,
  columns: i32,
): void {
  const tile = memory.data(128, 16);
  const tileBytes: usize = <usize>B_WIDTH << 2;
  copyRows(tile, tileBytes, from, fromBytes, rows, columns);
  multiplyTile(tile, tileBytes, tile, tileBytes, a, b, k);
  copyRows(out, rowBytes, tile, tileBytes, rows, columns);
}

function copyRows(
  to: usize, toBytes: usize, from: usize, fromBytes: usize, rows: i32, columns: i32,
): void {
  for (; rows > 0; rows--, to += toBytes, from += fromBytes) {
    memory.copy(to, from, <usize>columns << 2);
  }
}
