/**
 * Causal self-attention of GPT-2, fused: per head
 *
 *   S = Q·Kᵀ/√hd, only keys up to the query;  P = softmax(S);  O = P·V
 *
 * Blocks of 16 query rows meet the keys up to the block's end, so the matrix [T, T] never exists.
 * The forward pass keeps one number a row, logSumExp(S); the backward pass recomputes P from it:
 *
 *   dV += Pᵀ·dO;  dP = dO·Vᵀ;  dS = P ∘ (dP − Σ P∘dP)/√hd;  dQ = dS·K;  dK += dSᵀ·Q
 *
 * Products are the f32 GEMM's, on operands packed once a head where they are shared by its blocks.
 * Source: Dao et al., arXiv 2205.14135, for the recomputation
 */
import { exp4 } from "../simd/exp";
import { A_WIDTH, B_WIDTH, gemmPanels, packF32 } from "../floats/gemm-f32";
import { maxLanes, sumLanes } from "../simd/lanes";

/** Query rows of a block. */
// @ts-ignore: decorator
@inline const QUERY_BLOCK: i32 = 16;

/** Bytes of scratch for one call, forward or backward. */
export function attentionScratchBytes(length: i32, headWidth: i32): usize {
  return backwardScratch(0, length, headWidth, 11);
}

/**
 * Shapes:   out f32 [B, T, C]; logSumExp f32 [B, heads, T]; qkv f32 [B, T, 3C], queries first, then
 *           keys, then values, heads side by side; scratch as `attentionScratchBytes` says
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
  headWidth: i32,
): void {
  assert(sequences >= 0 && length > 0 && heads > 0 && headWidth > 0, "sizes must be positive");

  const width = heads * headWidth;
  const stride = 3 * width;
  const scoreStride = roundUp(length, B_WIDTH);
  const scale: f32 = 1 / sqrt<f32>(<f32>headWidth);
  const keys = scratch;
  const valuesT = keys + bytes(roundUp(length, B_WIDTH) * headWidth);
  const queries = valuesT + bytes(roundUp(headWidth, B_WIDTH) * length);
  const scores = queries + bytes(QUERY_BLOCK * headWidth);
  const panels = scores + bytes(QUERY_BLOCK * scoreStride);

  for (let sequence = 0; sequence < sequences; sequence++) {
    for (let head = 0; head < heads; head++) {
      const q = qkv + bytes(sequence * length * stride + head * headWidth);
      const k = q + bytes(width);
      const v = k + bytes(width);
      const o = out + bytes(sequence * length * width + head * headWidth);
      const totals = logSumExp + bytes((sequence * heads + head) * length);
      packF32(keys, k, length, headWidth, stride, 1, B_WIDTH, 0);
      packF32(valuesT, v, headWidth, length, 1, stride, B_WIDTH, 0);

      for (let first = 0; first < length; first += QUERY_BLOCK) {
        const rows = min(QUERY_BLOCK, length - first);
        const end = first + rows;
        packF32(queries, q + bytes(first * stride), rows, headWidth, stride, 1, A_WIDTH, 0);
        gemmPanels(
          scores, scoreStride, queries, headWidth, keys, headWidth,
          rows, end, headWidth, 0,
        );
        for (let row = 0; row < rows; row++) {
          const s = scores + bytes(row * scoreStride);
          fillRow(s, first + row + 1, roundUp(end, B_WIDTH), -Infinity);
          const total = softmaxRow(s, roundUp(end, B_WIDTH), scale);
          store<f32>(totals + bytes(first + row), total);
        }
        packF32(panels, scores, rows, end, scoreStride, 1, A_WIDTH, 0);
        gemmPanels(
          o + bytes(first * width), width, panels, end, valuesT, length,
          rows, headWidth, end, 0,
        );
      }
    }
  }
}

/**
 * Shapes:   dQkv f32 [B, T, 3C], overwritten; dOut f32 [B, T, C]; the others as in the forward pass
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
  headWidth: i32,
): void {
  assert(sequences >= 0 && length > 0 && heads > 0 && headWidth > 0, "sizes must be positive");

  const width = heads * headWidth;
  const stride = 3 * width;
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
  const panelsT = backwardScratch(scratch, length, headWidth, 10);

  // Keys and values gather from every block of queries.
  memory.fill(dQkv, 0, bytes(sequences * length * stride));
  for (let sequence = 0; sequence < sequences; sequence++) {
    for (let head = 0; head < heads; head++) {
      const start = bytes(sequence * length * stride + head * headWidth);
      const q = qkv + start;
      const k = q + bytes(width);
      const v = k + bytes(width);
      const dQ = dQkv + start;
      const dK = dQ + bytes(width);
      const dV = dK + bytes(width);
      const dO = dOut + bytes(sequence * length * width + head * headWidth);
      const totals = logSumExp + bytes((sequence * heads + head) * length);
      packF32(keys, k, length, headWidth, stride, 1, B_WIDTH, 0);
      packF32(keysT, k, headWidth, length, 1, stride, B_WIDTH, 0);
      packF32(values, v, length, headWidth, stride, 1, B_WIDTH, 0);

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
          rows, end, headWidth, 0,
        );
        gemmPanels(
          dScores, scoreStride, dOuts, headWidth, values, headWidth,
          rows, end, headWidth, 0,
        );
        for (let row = 0; row < rows; row++) {
          const p = probabilities + bytes(row * scoreStride);
          const d = dScores + bytes(row * scoreStride);
          const padded = roundUp(end, B_WIDTH);
          fillRow(p, first + row + 1, padded, -Infinity);
          fillRow(d, first + row + 1, padded, 0);
          softmaxBackwardRow(p, d, padded, scale, load<f32>(totals + bytes(first + row)));
        }

        packF32(panelsT, probabilities, end, rows, 1, scoreStride, A_WIDTH, 0);
        gemmPanels(dV, stride, panelsT, rows, dOutsT, rows, end, headWidth, rows, 1);
        packF32(panels, dScores, rows, end, scoreStride, 1, A_WIDTH, 0);
        gemmPanels(
          dQ + bytes(first * stride), stride, panels, end, keysT, length,
          rows, headWidth, end, 0,
        );
        packF32(panelsT, dScores, end, rows, 1, scoreStride, A_WIDTH, 0);
        gemmPanels(dK, stride, panelsT, rows, queriesT, rows, end, headWidth, rows, 1);
      }
    }
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
  return at + <usize>max(0, index - 7) * perScore; // probabilities, dScores, panels, panelsT
}

/** x = softmax(x · scale) over `length`, a multiple of 4; gives log Σ e^(x·scale). */
// @ts-ignore: decorator
@inline
function softmaxRow(x: usize, length: i32, scale: f32): f32 {
  const end = x + bytes(length);
  // pmax is one instruction; a NaN that it lets go still makes the sum NaN.
  let maxima = v128.load(x);
  for (let at = x + 16; at < end; at += 16) maxima = f32x4.pmax(maxima, v128.load(at));
  const largest = maxLanes(maxima);

  const largest4 = f32x4.splat(largest);
  const scale4 = f32x4.splat(scale);
  let sums = f32x4.splat(0);
  for (let at = x; at < end; at += 16) {
    const e = exp4(f32x4.mul(f32x4.sub(v128.load(at), largest4), scale4));
    v128.store(at, e);
    sums = f32x4.add(sums, e);
  }
  const sum = sumLanes(sums);
  const share4 = f32x4.splat(1 / sum);
  for (let at = x; at < end; at += 16) v128.store(at, f32x4.mul(v128.load(at), share4));
  return <f32>(<f64>largest * <f64>scale + Math.log(<f64>sum));
}

/** p: scores become probabilities; d: their gradient becomes the scores'. `length` % 4 == 0. */
// @ts-ignore: decorator
@inline
function softmaxBackwardRow(p: usize, d: usize, length: i32, scale: f32, total: f32): void {
  const lengthBytes = bytes(length);
  const scale4 = f32x4.splat(scale);
  const total4 = f32x4.splat(total);
  let sums = f32x4.splat(0);
  for (let at: usize = 0; at < lengthBytes; at += 16) {
    const e = exp4(f32x4.sub(f32x4.mul(v128.load(p + at), scale4), total4));
    v128.store(p + at, e);
    sums = f32x4.add(sums, f32x4.mul(e, v128.load(d + at)));
  }
  const sum4 = f32x4.splat(sumLanes(sums));
  for (let at: usize = 0; at < lengthBytes; at += 16) {
    const centred = f32x4.mul(f32x4.sub(v128.load(d + at), sum4), scale4);
    v128.store(d + at, f32x4.mul(v128.load(p + at), centred));
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
