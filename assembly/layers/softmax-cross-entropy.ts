/**
 * Softmax and cross-entropy of each row of logits. Rows whose target is −1 are not counted: their
 * loss and their gradient are 0.
 */
import { exp4 } from "../simd/exp";
import { loadPartial, maxLanes, storePartial, sumLanes } from "../simd/lanes";

/**
 * lossSum + Σ over rows of logSumExp(logits) − logits[target], in nats, in f64 and in order of rows.
 *
 * Shapes:   logSumExp f32 [rows], kept for the backward pass; logits f32 [rows, V];
 *           targets i32 [rows], each −1 or 0 … V − 1 (the model checks it)
 * Special:  a NaN anywhere in a counted row makes the sum NaN
 */
export function softmaxCrossEntropyForwardF32(
  logSumExp: usize,
  logits: usize,
  targets: usize,
  rows: i32,
  vocabulary: i32,
  lossSum: f64,
): f64 {
  assert(rows >= 0 && vocabulary > 0, "sizes must be positive");

  const rowBytes = <usize>vocabulary << 2;
  for (let row = 0; row < rows; row++) {
    const target = load<i32>(targets);
    if (target >= 0) {
      assert(target < vocabulary, "target must be below the vocabulary");
      const total = logSumExpRow(logits, vocabulary);
      store<f32>(logSumExp, <f32>total);
      lossSum += total - <f64>load<f32>(logits + (<usize>target << 2));
    }
    logits += rowBytes;
    logSumExp += 4;
    targets += 4;
  }
  return lossSum;
}

/**
 * dLogits = (softmax(logits) − onehot(target)) · gradientScale
 *
 * Shapes:   as in the forward pass; dLogits f32 [rows, V], may be `logits`
 */
export function softmaxCrossEntropyBackwardF32(
  dLogits: usize,
  logits: usize,
  logSumExp: usize,
  targets: usize,
  rows: i32,
  vocabulary: i32,
  gradientScale: f32,
): void {
  assert(rows >= 0 && vocabulary > 0, "sizes must be positive");

  const rowBytes = <usize>vocabulary << 2;
  const wholeBytes = <usize>(vocabulary & ~3) << 2;
  const rest = vocabulary & 3;
  const scale4 = f32x4.splat(gradientScale);
  for (let row = 0; row < rows; row++) {
    const target = load<i32>(targets);
    if (target < 0) {
      memory.fill(dLogits, 0, rowBytes);
    } else {
      assert(target < vocabulary, "target must be below the vocabulary");
      const total4 = v128.load32_splat(logSumExp);
      for (let at: usize = 0; at < wholeBytes; at += 16) {
        const p = exp4(f32x4.sub(v128.load(logits + at), total4));
        v128.store(dLogits + at, f32x4.mul(p, scale4));
      }
      const last = exp4(f32x4.sub(loadPartial(logits + wholeBytes, rest, 0), total4));
      storePartial(dLogits + wholeBytes, f32x4.mul(last, scale4), rest);
      const at = dLogits + (<usize>target << 2);
      store<f32>(at, load<f32>(at) - gradientScale);
    }
    dLogits += rowBytes;
    logits += rowBytes;
    logSumExp += 4;
    targets += 4;
  }
}

/** log Σ e^x over `length` > 0 values; NaN if one is. */
function logSumExpRow(x: usize, length: i32): f64 {
  const wholeBytes = <usize>(length & ~3) << 2;
  const rest = length & 3;
  const last = loadPartial(x + wholeBytes, rest, -Infinity);
  let maxima = last;
  for (let at: usize = 0; at < wholeBytes; at += 16) {
    maxima = f32x4.max(maxima, v128.load(x + at));
  }
  const largest = maxLanes(maxima);
  const largest4 = f32x4.splat(largest);
  // f64 sums: a vocabulary has tens of thousands of terms.
  let sums = f64x2.splat(0);
  for (let at: usize = 0; at < wholeBytes; at += 16) {
    const e = exp4(f32x4.sub(v128.load(x + at), largest4));
    sums = f64x2.add(sums, f64x2.promote_low_f32x4(e));
    const high = v128.shuffle<f32>(e, e, 2, 3, 2, 3);
    sums = f64x2.add(sums, f64x2.promote_low_f32x4(high));
  }
  const sum = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1)
    + <f64>sumLanes(exp4(f32x4.sub(last, largest4)));
  return <f64>largest + Math.log(sum);
}
