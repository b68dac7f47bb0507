/**
 * Causal self-attention, fused; groups of neighbouring heads share keys and values. Per head
 *
 *   S = Q·Kᵀ/√hd, only keys up to the query;  P = softmax(S);  O = P·V
 *
 * Blocks of 64 query rows meet the keys up to the block's end, so the matrix [T, T] never exists. Within a block eight
 * rows and eight columns are the smallest part: what lies wholly above the diagonal is not computed.
 * The forward pass keeps one number a row, logSumExp(S); the backward pass recomputes P from it:
 *
 *   dV += Pᵀ·dO;  dP = dO·Vᵀ;  dS = P ∘ (dP − Σ P∘dP)/√hd;  dQ = dS·K;  dK += dSᵀ·Q
 *
 * Products are the f32 GEMM's, on operands packed once a head where they are shared by its blocks, once a group where by
 * its heads; what a group's keys and values gather, they gather head by head in order.
 * Source: Dao et al., arXiv 2205.14135, for the recomputation
 */
import { expNegative4, negativeConstant } from "../simd/exp";
import { gemmPanels } from "../floats/gemm-f32";
import { packF32 } from "../floats/pack-f32";
import { A_WIDTH, B_WIDTH } from "../floats/tile-f32";
import { maxLanes, sumLanes } from "../simd/lanes";

/** Rows that meet keys up to the same one: those of a tall tile of the f32 product, a divisor of QUERY_BLOCK. */
// @ts-ignore: decorator
@inline const GROUP: i32 = 8;
/** Query rows of a block. */
// @ts-ignore: decorator
@inline const QUERY_BLOCK: i32 = 64;

/** Bytes of scratch for one call, forward or backward. */
export function attentionScratchBytes(length: i32, headWidth: i32): usize {
  return backwardScratch(0, length, headWidth, 10);
}

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
            softmaxGroup(s, scoreStride, totals + bytes(first + row), groupRows, first + row, scale);
            packF32(panels, s, groupRows, groupEnd, scoreStride, 1, A_WIDTH, 0);
            gemmPanels(
              o + bytes((first + row) * width), width, panels, groupEnd, valuesT, length,
              groupRows, headWidth, groupEnd, 0, headWidth,
            );
          }
        }
      }
    }
  }
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
  const panels = backwardScratch(scratch, length, headWidth, 9);

  // Keys and values gather from every block of queries.
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
            softmaxBackwardGroup(
              p, d, scoreStride, totals + bytes(first + row), groupRows, first + row, scale,
            );
            packF32(panels, d, groupRows, groupEnd, scoreStride, 1, A_WIDTH, 0);
            gemmPanels(
              dQ + bytes((first + row) * stride), stride, panels, groupEnd, keysT, length,
              groupRows, headWidth, groupEnd, 0, headWidth,
            );
          }

          packF32(panels, probabilities, end, rows, 1, scoreStride, A_WIDTH, 0);
          multiplyFromDiagonal(dV, stride, panels, dOutsT, first, rows, headWidth);
          packF32(panels, dScores, end, rows, 1, scoreStride, A_WIDTH, 0);
          multiplyFromDiagonal(dK, stride, panels, queriesT, first, rows, headWidth);
        }
      }
    }
  }
}

/**
 * out [first + rows, n] += a · bᵀ, of keys and of queries from `first` on: a key has no query before itself.
 * Panels of k = rows.
 */
function multiplyFromDiagonal(
  out: usize, outStride: i32, a: usize, b: usize, first: i32, rows: i32, n: i32,
): void {
  gemmPanels(out, outStride, a, rows, b, rows, first, n, rows, out, n);
  for (let row = 0; row < rows; row += GROUP) {
    const keys = min(GROUP, rows - row);
    const aGroup = a + bytes((first + row) * rows + row * A_WIDTH);
    const bGroup = b + bytes(row * B_WIDTH);
    const to = out + bytes((first + row) * outStride);
    gemmPanels(to, outStride, aGroup, rows, bGroup, rows, keys, n, rows - row, to, n);
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
  return at + <usize>max(0, index - 7) * perScore; // probabilities, dScores, panels
}

/**
 * Rows of scores, of which row i ends at key `first` + i, become softmax(row · scale) up to the end of the group's keys, and
 * `totals` log Σ e^(row · scale).
 */
function softmaxGroup(
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
    // pmax is one instruction; a NaN that it lets go still makes the sum NaN.
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
    const share4 = f32x4.splat(1 / sum);
    for (let at = x; at < end; at += 32) {
      const e0 = v128.load(at);
      const e1 = v128.load(at, 16);
      v128.store(at, f32x4.mul(e0, share4));
      v128.store(at, f32x4.mul(e1, share4), 16);
    }
    store<f32>(totals, <f32>(<f64>largest * <f64>scale + Math.log(<f64>sum)));
  }
}

/** Of the same rows p: scores become probabilities; d: their gradient becomes the scores'. */
function softmaxBackwardGroup(
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
    const shared4 = f32x4.splat(sumLanes(f32x4.add(sums0, sums1)));
    for (let at: usize = 0; at < rowBytes; at += 32) {
      const e0 = v128.load(p + at);
      const e1 = v128.load(p + at, 16);
      const d0 = f32x4.sub(v128.load(d + at), shared4);
      const d1 = f32x4.sub(v128.load(d + at, 16), shared4);
      v128.store(d + at, f32x4.mul(e0, f32x4.mul(d0, scale4)));
      v128.store(d + at, f32x4.mul(e1, f32x4.mul(d1, scale4)), 16);
    }
  }
}

/** x[from … to) = value */
// @ts-ignore: decorator
@inline
function fillRow(x: usize, from: i32, to: i32, value: f32): void {
  for (let i = from; i < to; i++) store<f32>(x + bytes(i), value);
}

/** Bytes of `elements` f32. */
// @ts-ignore: decorator
@inline
function bytes(elements: i32): usize {
  return <usize>elements << 2;
}

// @ts-ignore: decorator
@inline
function roundUp(value: i32, multiple: i32): i32 {
  return ((value + multiple - 1) / multiple) * multiple;
}
