/**
 * Causal self-attention, forward, fused; groups of neighbouring heads share keys and values. Per head
 *
 *   S = Q·Kᵀ/√hd, only keys up to the query;  P = softmax(S);  O = P·V
 *
 * Blocks of 64 query rows are multiplied with the keys up to the block's end, so no [T, T] matrix is stored. Within a
 * block, 8 × 8 parts entirely above the diagonal are skipped. One number per row is kept, logSumExp(S), from which
 * the backward pass (attention-backward.ts) recomputes P.
 *
 * Products use the f32 GEMM, on operands packed once per group.
 */
import { gemmPanels } from "../floats/gemm-f32";
import { packF32 } from "../floats/pack-f32";
import { A_WIDTH, B_WIDTH } from "../floats/tile-f32";
import { expNegative4, negativeConstant } from "../simd/exp";
import { maxLanes, sumLanes } from "../simd/lanes";
import { storeTransposed } from "../simd/transpose";
import { bytes, fillRow, GROUP, OF_ROWS, QUERY_BLOCK, roundUp } from "./attention-block";

/**
 * Shapes:   out f32 [B, T, heads · D]; logSumExp f32 [B, heads, T]; qkv f32 [B, T, (heads + 2 · groups) · D], queries
 *           first, then keys, then values, heads and groups side by side; scratch as `attentionScratchBytes` says
 * Requires: heads a multiple of groups
 * Special:  a NaN in a head of a sequence may reach rows before it, in the same head
 */
export function attentionForwardF32(
  out: usize,
  logSumExp: usize,
  qkv: usize,
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
  const keys = scratch;
  const valuesT = keys + bytes(roundUp(length, B_WIDTH) * headWidth);
  const queries = valuesT + bytes(roundUp(headWidth, B_WIDTH) * length);
  const scores = queries + bytes(QUERY_BLOCK * headWidth);
  const panels = scores + bytes(QUERY_BLOCK * scoreStride);

  for (let sequence = 0; sequence < sequences; sequence++) {
    const sequenceQkv = qkv + bytes(sequence * length * stride);
    for (let group = 0; group < groups; group++) {
      const k = sequenceQkv + bytes(width + group * headWidth);
      const v = k + bytes(groupsWidth);
      packF32(keys, k, length, headWidth, stride, 1, B_WIDTH, 0);
      packF32(valuesT, v, headWidth, length, 1, stride, B_WIDTH, 0);

      for (let head = group * shared; head < (group + 1) * shared; head++) {
        const q = sequenceQkv + bytes(head * headWidth);
        const o = out + bytes(sequence * length * width + head * headWidth);
        const totals = logSumExp + bytes((sequence * heads + head) * length);
        for (let first = 0; first < length; first += QUERY_BLOCK) {
          const rows = min(QUERY_BLOCK, length - first);
          const end = first + rows;
          packF32(queries, q + bytes(first * stride), rows, headWidth, stride, 1, A_WIDTH, 0);
          gemmPanels(
            scores, scoreStride, queries, headWidth, keys, headWidth,
            rows, end, headWidth, 0, first,
          );
          for (let row = 0; row < rows; row += GROUP) {
            const groupRows = min(GROUP, rows - row);
            const groupEnd = min(first + row + GROUP, end);
            const s = scores + bytes(row * scoreStride);
            exponentials(s, scoreStride, totals + bytes(first + row), groupRows, first + row, scale);
            packShares(panels, s, scoreStride, first + row + GROUP);
            gemmPanels(
              o + bytes((first + row) * width), width, panels, first + row + GROUP, valuesT, length,
              groupRows, headWidth, groupEnd, 0, headWidth,
            );
          }
        }
      }
    }
  }
}

/**
 * Turns scores into e^(score · scale − the row's largest); row i ends at key `first` + i, and later keys of the group
 * become 0. OF_ROWS gets 1 / (the row's sum), and `totals` log Σ e^(score · scale).
 */
function exponentials(
  x: usize, stride: i32, totals: usize, rows: i32, first: i32, scale: f32,
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
  for (let row = 0; row < rows; row++, x += bytes(stride), totals += 4) {
    fillRow(x, first + row + 1, first + GROUP, -Infinity);
    const end = x + rowBytes;
    // pmax is one instruction; a NaN that it drops still makes the sum NaN.
    let maxima0 = v128.load(x);
    let maxima1 = v128.load(x, 16);
    for (let at = x + 32; at < end; at += 32) {
      maxima0 = f32x4.pmax(maxima0, v128.load(at));
      maxima1 = f32x4.pmax(maxima1, v128.load(at, 16));
    }
    const largest = maxLanes(f32x4.pmax(maxima0, maxima1));

    const shift4 = f32x4.splat(-largest * scale);
    let sums0 = f32x4.splat(0);
    let sums1 = f32x4.splat(0);
    for (let at = x; at < end; at += 32) {
      const x0 = v128.load(at);
      const x1 = v128.load(at, 16);
      const e0 = expNegative4(
        f32x4.relaxed_madd(x0, scale4, shift4),
        least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
      );
      const e1 = expNegative4(
        f32x4.relaxed_madd(x1, scale4, shift4),
        least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
      );
      v128.store(at, e0);
      v128.store(at, e1, 16);
      sums0 = f32x4.add(sums0, e0);
      sums1 = f32x4.add(sums1, e1);
    }
    const sum = sumLanes(f32x4.add(sums0, sums1));
    store<f32>(OF_ROWS + bytes(row), 1 / sum);
    store<f32>(totals, <f32>(<f64>largest * <f64>scale + Math.log(<f64>sum)));
  }
}

/**
 * Packs a group's rows times OF_ROWS (the softmax) in two strips of `k`. Missing rows are packed with whatever memory
 * holds there.
 */
function packShares(panels: usize, x: usize, stride: i32, k: i32): void {
  const rowBytes = bytes(stride);
  for (let strip: usize = 0; strip < 2; strip++) {
    const share0 = v128.load32_splat(OF_ROWS + 16 * strip);
    const share1 = v128.load32_splat(OF_ROWS + 16 * strip, 4);
    const share2 = v128.load32_splat(OF_ROWS + 16 * strip, 8);
    const share3 = v128.load32_splat(OF_ROWS + 16 * strip, 12);
    let from = x + 4 * strip * rowBytes;
    for (const end = from + bytes(k); from < end; from += 16, panels += 64) {
      storeTransposed(
        panels, 16,
        f32x4.mul(v128.load(from), share0), f32x4.mul(v128.load(from + rowBytes), share1),
        f32x4.mul(v128.load(from + 2 * rowBytes), share2), f32x4.mul(v128.load(from + 3 * rowBytes), share3),
      );
    }
  }
}
