/**
 * out = bias + a · bᵀ on panels of 6-bit integers, with one scale per group of 64 k (int6-panel.ts).
 *
 * A group's integer sum is exact. Three operations round to f32, once each: the product of the two scales, the
 * product of the sum with that, and the additions over groups, in order of k after the bias. So the result depends
 * neither on the form of the dot product, nor on fused multiply-add, nor on the blocking.
 */
import { A_CACHE_BYTES } from "../mxfp4/gemm-mxfp4";
import { A_GROUP_BYTES, A_SCALE, A_START, B_GROUP_BYTES } from "./int6-panel";
import { multiplyAccumulating, multiplyPairwise, NUMBERS } from "../mxfp4/mxfp4-dot";
import { BLOCK_UNITS, GROUP } from "../mxfp4/mxfp4-panel";
import { addTile, startTile, storeTile, tileAddress } from "../mxfp4/product-tile";
import { transposeTile } from "../simd/transpose";

/**
 * Multiplies panels that `packInt6` wrote.
 *
 * Shapes:   out f32 [m, n]; a, b panels of m and n rows, with the same k; bias f32 [n]
 * Special:  scales whose product exceeds f32 give an infinity, NaN or 0
 * Requires: k % 64 == 0; n % 8 == 0; accumulating 0 or 1: the form of the dot product, which does not change the result
 */
export function gemmInt6(
  out: usize, a: usize, b: usize, bias: usize, m: i32, n: i32, k: i32, accumulating: i32,
): void {
  assert(n % 8 == 0, "n must be a multiple of 8");
  multiply(out, 0, a, b, bias, m, n, k, accumulating, m);
}

/**
 * x = factors · x + a · bᵀ: the product is summed first, then the old x times its row's factor is added; each
 * operation rounds.
 *
 * Shapes:   x f32 [m, n], factors f32 [m]; a, b panels of m and n rows, with the same k; zeros f32 [n]
 * Requires: as for `gemmInt6`; m % 4 == 0
 */
export function gemmOntoInt6(
  x: usize, factors: usize, a: usize, b: usize, zeros: usize, m: i32, n: i32, k: i32, accumulating: i32,
): void {
  assert(m % 4 == 0, "m must be a multiple of 4");
  assert(n % 8 == 0, "n must be a multiple of 8");
  multiply(x, factors, a, b, zeros, m, n, k, accumulating, m);
}

/**
 * out = x · xᵀ, symmetric: tiles below the diagonal are copied from those above it.
 *
 * Shapes:   out f32 [n, n]; a, b the panels of x [n, k] for either side; zeros f32 [n]
 * Requires: as for `gemmInt6`
 */
export function gramInt6(
  out: usize, a: usize, b: usize, zeros: usize, n: i32, k: i32, accumulating: i32,
): void {
  assert(n % 8 == 0, "n must be a multiple of 8");
  multiply(out, 0, a, b, zeros, n, n, k, accumulating, 8);
  const rowBytes = <usize>n << 2;
  for (let i = 4; i < n; i += 4) {
    const row = out + <usize>i * rowBytes;
    const column = out + (<usize>i << 2);
    for (let j = 0; j < i; j += 4) {
      transposeTile(row + (<usize>j << 2), rowBytes, column + <usize>j * rowBytes, rowBytes);
    }
  }
}

/**
 * Computes, for each pair of column strips, the rows up to `below` past the pair's first column; adds to `out` if
 * there are `factors`.
 */
function multiply(
  out: usize, factors: usize, a: usize, b: usize, bias: usize, m: i32, n: i32, k: i32, accumulating: i32,
  below: i32,
): void {
  assert(k % GROUP == 0, "k must be a multiple of 64");

  const tile = tileAddress();
  const groups = k / GROUP;
  const aLine = <usize>groups * A_GROUP_BYTES;
  const rowBytes = <usize>n << 2;
  const rowsTogether = max(4, (A_CACHE_BYTES / <i32>aLine) << 2);
  for (let m0 = 0; m0 < m; m0 += rowsTogether) {
    const mEnd = min(m, m0 + rowsTogether);
    let bPair = b;
    for (let j = 0; j < n; j += 8, bPair += <usize>groups * B_GROUP_BYTES) {
      const end = min(mEnd, j + below);
      let aGroup = a + <usize>(m0 >> 2) * aLine;
      const bias0 = v128.load(bias + (<usize>j << 2));
      const bias1 = v128.load(bias + (<usize>j << 2), 16);
      for (let i = m0; i < end; i += 4) {
        startTile(tile, bias0, bias1);
        let bGroup = bPair;
        for (const aEnd = aGroup + aLine; aGroup < aEnd; aGroup += A_GROUP_BYTES) {
          addGroup(tile, aGroup, bGroup, accumulating);
          bGroup += B_GROUP_BYTES;
        }
        if (factors) {
          const row = out + <usize>i * rowBytes + (<usize>j << 2);
          addTile(tile, row, rowBytes, factors + (<usize>i << 2));
        } else {
          storeTile(tile, out, i, j, m, n, 1);
        }
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function addGroup(tile: usize, a: usize, b: usize, accumulating: i32): void {
  const start = v128.load(a, A_START);
  const scale = v128.load(a, A_SCALE);
  if (accumulating) multiplyAccumulating(NUMBERS, tile, a, b, start, 2 * BLOCK_UNITS, scale);
  else multiplyPairwise(NUMBERS, tile, a, b, start, 2 * BLOCK_UNITS, scale);
}
