/**
 * out = bias + a · bᵀ on panels of 6-bit integers, one scale a group of 64 k (int6-panel.ts).
 *
 * A group's sum of products is exact; its scales' product, its own with that, and the additions across
 * groups, in order of k after the bias, round to f32, each once. So the result does not depend on the
 * form of the dot, on how the machine multiplies and adds, or on the blocking.
 */
import { A_CACHE_BYTES } from "../mxfp4/gemm-mxfp4";
import { A_GROUP_BYTES, A_SCALE, A_START, B_GROUP_BYTES } from "./int6-panel";
import { multiplyAccumulating, multiplyPairwise, NUMBERS } from "../mxfp4/mxfp4-dot";
import { BLOCK_UNITS, GROUP } from "../mxfp4/mxfp4-panel";
import { addTile, startTile, storeTile, tileAddress } from "../mxfp4/product-tile";
import { transposeTile } from "../simd/transpose";

/**
 * Multiply panels that `packInt6` wrote.
 *
 * Shapes:   out f32 [m, n]; a, b panels of m and n rows, with the same k; bias f32 [n]
 * Special:  scales whose product leaves f32 give an infinity, NaN or 0
 * Requires: k % 64 == 0; n % 8 == 0; accumulating 0 or 1: which form of the dot is used, not what comes out
 */
export function gemmInt6(
  out: usize, a: usize, b: usize, bias: usize, m: i32, n: i32, k: i32, accumulating: i32,
): void {
  assert(n % 8 == 0, "n must be a multiple of 8");
  multiply(out, 0, a, b, bias, m, n, k, accumulating, m);
}

/**
 * x = factors · x + a · bᵀ, row by row: the product is added up by itself, then what x was, times its row's factor, is
 * added, each rounded.
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
 * out = x · xᵀ, symmetric: tiles below the diagonal are copies of those above it.
 *
 * Shapes:   out f32 [n, n]; a, b panels of x [n, k], of either side; zeros f32 [n]
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

/** Of each pair of columns the rows before `below` more than the pair's first; onto `out` where there are factors. */
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
