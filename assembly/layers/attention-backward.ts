/**
 * Backward pass of attention (attention-forward.ts), in the same blocks; P is recomputed from the scores.
 *
 *   dV += Pᵀ·dO;  dP = dO·Vᵀ;  dS = P ∘ (dP − Σ P∘dP)/√hd;  dQ = dS·K;  dK += dSᵀ·Q
 *
 * dK and dV of a group are summed over its heads, in order. Source: Dao et al., arXiv 2205.14135, for the
 * recomputation
 */
import { gemmPanels } from "../floats/gemm-f32";
import { packF32 } from "../floats/pack-f32";
import { A_WIDTH, B_WIDTH } from "../floats/tile-f32";
import { expNegative4, negativeConstant } from "../simd/exp";
import { sumLanes } from "../simd/lanes";
import { storeTransposed } from "../simd/transpose";
import { bytes, fillRow, GROUP, OF_ROWS, QUERY_BLOCK, roundUp } from "./attention-block";

/** Bytes of scratch for one call, forward or backward. */
export function attentionScratchBytes(length: i32, headWidth: i32): usize {
  return backwardScratch(0, length, headWidth, 11) + bytes(GROUP * roundUp(length, B_WIDTH));
}

/**
 * Shapes:   dQkv as qkv, overwritten; dOut as out; the others as in the forward pass
 * Requires: heads a multiple of groups
 */
export function attentionBackwardF32(
  dQkv: usize,
  dOut: usize,
  qkv: usize,
  logSumExp: usize,
  scratch: usize,
  sequences: i32,
  length: i32,
  heads: i32,
  groups: i32,
  headWidth: i32,
): void {
  assert(sequences >= 0 && length > 0 && groups > 0 && headWidth > 0, "sizes must be positive");
  assert(heads >= groups && heads % groups == 0, "heads must be a multiple of groups");

  const width = heads * headWidth;
  const groupsWidth = groups * headWidth;
  const stride = width + 2 * groupsWidth;
  const shared = heads / groups;
  const scoreStride = roundUp(length, B_WIDTH);
  const scale: f32 = 1 / sqrt<f32>(<f32>headWidth);
  const keys = backwardScratch(scratch, length, headWidth, 0);
  const keysT = backwardScratch(scratch, length, headWidth, 1);
  const values = backwardScratch(scratch, length, headWidth, 2);
  const queries = backwardScratch(scratch, length, headWidth, 3);
  const queriesT = backwardScratch(scratch, length, headWidth, 4);
  const dOuts = backwardScratch(scratch, length, headWidth, 5);
  const dOutsT = backwardScratch(scratch, length, headWidth, 6);
  const probabilities = backwardScratch(scratch, length, headWidth, 7);
  const dScores = backwardScratch(scratch, length, headWidth, 8);
  const probabilitiesT = backwardScratch(scratch, length, headWidth, 9);
  const dScoresT = backwardScratch(scratch, length, headWidth, 10);
  const panels = backwardScratch(scratch, length, headWidth, 11);

  // dK and dV are summed over all blocks of queries.
  memory.fill(dQkv, 0, bytes(sequences * length * stride));
  for (let sequence = 0; sequence < sequences; sequence++) {
    const start = bytes(sequence * length * stride);
    for (let group = 0; group < groups; group++) {
      const keysStart = start + bytes(width + group * headWidth);
      const k = qkv + keysStart;
      const v = k + bytes(groupsWidth);
      const dK = dQkv + keysStart;
      const dV = dK + bytes(groupsWidth);
      packF32(keys, k, length, headWidth, stride, 1, B_WIDTH, 0);
      packF32(keysT, k, headWidth, length, 1, stride, B_WIDTH, 0);
      packF32(values, v, length, headWidth, stride, 1, B_WIDTH, 0);

      for (let head = group * shared; head < (group + 1) * shared; head++) {
        const q = qkv + start + bytes(head * headWidth);
        const dQ = dQkv + start + bytes(head * headWidth);
        const dO = dOut + bytes(sequence * length * width + head * headWidth);
        const totals = logSumExp + bytes((sequence * heads + head) * length);
        for (let first = 0; first < length; first += QUERY_BLOCK) {
          const rows = min(QUERY_BLOCK, length - first);
          const end = first + rows;
          const qBlock = q + bytes(first * stride);
          const dOBlock = dO + bytes(first * width);
          packF32(queries, qBlock, rows, headWidth, stride, 1, A_WIDTH, 0);
          packF32(queriesT, qBlock, headWidth, rows, 1, stride, B_WIDTH, 0);
          packF32(dOuts, dOBlock, rows, headWidth, width, 1, A_WIDTH, 0);
          packF32(dOutsT, dOBlock, headWidth, rows, 1, width, B_WIDTH, 0);

          gemmPanels(
            probabilities, scoreStride, queries, headWidth, keys, headWidth,
            rows, end, headWidth, 0, first,
          );
          gemmPanels(
            dScores, scoreStride, dOuts, headWidth, values, headWidth,
            rows, end, headWidth, 0, first,
          );
          for (let row = 0; row < rows; row += GROUP) {
            const groupRows = min(GROUP, rows - row);
            const groupEnd = min(first + row + GROUP, end);
            const p = probabilities + bytes(row * scoreStride);
            const d = dScores + bytes(row * scoreStride);
            exponentials(p, d, scoreStride, totals + bytes(first + row), groupRows, first + row, scale);
            packGradients(
              panels, probabilitiesT + bytes(row * A_WIDTH), dScoresT + bytes(row * A_WIDTH),
              p, d, scoreStride, first + row + GROUP, scale,
            );
            gemmPanels(
              dQ + bytes((first + row) * stride), stride, panels, first + row + GROUP, keysT, length,
              groupRows, headWidth, groupEnd, 0, headWidth,
            );
          }

          multiplyFromDiagonal(dV, stride, probabilitiesT, dOutsT, first, rows, headWidth);
          multiplyFromDiagonal(dK, stride, dScoresT, queriesT, first, rows, headWidth);
        }
      }
    }
  }
}

/**
 * out [first + rows, n] += a · bᵀ, over the queries from `first` on; a key meets no query before itself. Panels have
 * k = rows, packed with QUERY_BLOCK.
 */
function multiplyFromDiagonal(
  out: usize, outStride: i32, a: usize, b: usize, first: i32, rows: i32, n: i32,
): void {
  gemmPanels(out, outStride, a, QUERY_BLOCK, b, rows, first, n, rows, out, n);
  for (let row = 0; row < rows; row += GROUP) {
    const keys = min(GROUP, rows - row);
    const aGroup = a + bytes((first + row) * QUERY_BLOCK + row * A_WIDTH);
    const bGroup = b + bytes(row * B_WIDTH);
    const to = out + bytes((first + row) * outStride);
    gemmPanels(to, outStride, aGroup, QUERY_BLOCK, bGroup, rows, keys, n, rows - row, to, n);
  }
}

/** Address of part `index` of the backward pass's scratch; the forward pass needs less. */
function backwardScratch(scratch: usize, length: i32, headWidth: i32, index: i32): usize {
  const perKey = bytes(roundUp(length, B_WIDTH) * headWidth);
  const perKeyT = bytes(roundUp(headWidth, B_WIDTH) * length);
  const perQuery = bytes(QUERY_BLOCK * headWidth);
  const perQueryT = bytes(roundUp(headWidth, B_WIDTH) * QUERY_BLOCK);
  const perScore = bytes(QUERY_BLOCK * roundUp(length, B_WIDTH));
  let at = scratch;
  if (index > 0) at += perKey; // keys
  if (index > 1) at += perKeyT; // keysT
  if (index > 2) at += perKey; // values
  if (index > 3) at += perQuery; // queries
  if (index > 4) at += perQueryT; // queriesT
  if (index > 5) at += perQuery; // dOuts
  if (index > 6) at += perQueryT; // dOutsT
  return at + <usize>max(0, index - 7) * perScore; // probabilities, dScores, both transposed, panels
}

/**
 * Turns scores p into probabilities; row i ends at key `first` + i, and later keys of the group become 0. OF_ROWS
 * gets each row's Σ p ∘ d, d being their gradients.
 */
function exponentials(
  p: usize, d: usize, stride: i32, totals: usize, rows: i32, first: i32, scale: f32,
): void {
  const least = negativeConstant(0);
  const perLn2 = negativeConstant(1);
  const round = negativeConstant(2);
  const ln2High = negativeConstant(3);
  const ln2Low = negativeConstant(4);
  const p6 = negativeConstant(5);
  const p5 = negativeConstant(6);
  const p4 = negativeConstant(7);
  const p3 = negativeConstant(8);
  const p2 = negativeConstant(9);
  const p1 = negativeConstant(10);
  const one = negativeConstant(11);
  const scale4 = f32x4.splat(scale);
  const rowBytes = bytes(first + GROUP);
  for (let row = 0; row < rows; row++, p += bytes(stride), d += bytes(stride), totals += 4) {
    fillRow(p, first + row + 1, first + GROUP, -Infinity);
    fillRow(d, first + row + 1, first + GROUP, 0);
    const shift4 = f32x4.splat(-load<f32>(totals));
    let sums0 = f32x4.splat(0);
    let sums1 = f32x4.splat(0);
    for (let at: usize = 0; at < rowBytes; at += 32) {
      const s0 = v128.load(p + at);
      const s1 = v128.load(p + at, 16);
      const e0 = expNegative4(
        f32x4.relaxed_madd(s0, scale4, shift4),
        least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
      );
      const e1 = expNegative4(
        f32x4.relaxed_madd(s1, scale4, shift4),
        least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
      );
      const d0 = v128.load(d + at);
      const d1 = v128.load(d + at, 16);
      v128.store(p + at, e0);
      v128.store(p + at, e1, 16);
      sums0 = f32x4.relaxed_madd(e0, d0, sums0);
      sums1 = f32x4.relaxed_madd(e1, d1, sums1);
    }
    store<f32>(OF_ROWS + bytes(row), sumLanes(f32x4.add(sums0, sums1)));
  }
}

/**
 * Packs the score gradients of a group, p ∘ (d − OF_ROWS) · scale, in two strips of `k` = keys; and, transposed, like
 * p, in strips of four keys, from the group's first query on. Missing rows are packed with whatever memory holds
 * there.
 */
function packGradients(
  panels: usize, pT: usize, dT: usize, p: usize, d: usize, stride: i32, keys: i32, scale: f32,
): void {
  const rowBytes = bytes(stride);
  const scale4 = f32x4.splat(scale);
  for (let strip: usize = 0; strip < 2; strip++) {
    const shared0 = v128.load32_splat(OF_ROWS + 16 * strip);
    const shared1 = v128.load32_splat(OF_ROWS + 16 * strip, 4);
    const shared2 = v128.load32_splat(OF_ROWS + 16 * strip, 8);
    const shared3 = v128.load32_splat(OF_ROWS + 16 * strip, 12);
    let at: usize = 4 * strip * rowBytes;
    let to = strip << 6;
    for (const end = at + bytes(keys); at < end; at += 16, panels += 64, to += bytes(QUERY_BLOCK * A_WIDTH)) {
      const p0 = v128.load(p + at);
      const p1 = v128.load(p + at + rowBytes);
      const p2 = v128.load(p + at + 2 * rowBytes);
      const p3 = v128.load(p + at + 3 * rowBytes);
      v128.store(pT + to, p0);
      v128.store(pT + to, p1, 16);
      v128.store(pT + to, p2, 32);
      v128.store(pT + to, p3, 48);
      const d0 = f32x4.mul(p0, f32x4.mul(f32x4.sub(v128.load(d + at), shared0), scale4));
      const d1 = f32x4.mul(p1, f32x4.mul(f32x4.sub(v128.load(d + at + rowBytes), shared1), scale4));
      const d2 = f32x4.mul(p2, f32x4.mul(f32x4.sub(v128.load(d + at + 2 * rowBytes), shared2), scale4));
      const d3 = f32x4.mul(p3, f32x4.mul(f32x4.sub(v128.load(d + at + 3 * rowBytes), shared3), scale4));
      v128.store(dT + to, d0);
      v128.store(dT + to, d1, 16);
      v128.store(dT + to, d2, 32);
      v128.store(dT + to, d3, 48);
      storeTransposed(panels, 16, d0, d1, d2, d3);
    }
  }
}
