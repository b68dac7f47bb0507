/** Softmax and cross-entropy. */
import type { Pointer } from "./arena.ts";
import { checkCount } from "./check.ts";
import { kernels } from "./runtime.ts";

/**
 * `before`, plus the sum of cross-entropies in nats, in f64, over rows whose target is not −1.
 * logSumExp f32 [rows], kept; logits f32 [rows, vocabulary]; targets i32 [rows].
 */
export function softmaxCrossEntropyForward(
  logSumExp: Pointer,
  logits: Pointer,
  targets: Pointer,
  rows: number,
  vocabulary: number,
  before = 0,
): number {
  checkCount("rows", rows);
  checkCount("vocabulary", vocabulary);
  return kernels().exports.softmaxCrossEntropyForwardF32(
    logSumExp,
    logits,
    targets,
    rows,
    vocabulary,
    before,
  );
}

/** dLogits = (softmax(logits) − onehot(targets)) · gradientScale; `dLogits` may be `logits`. */
export function softmaxCrossEntropyBackward(
  dLogits: Pointer,
  logits: Pointer,
  logSumExp: Pointer,
  targets: Pointer,
  rows: number,
  vocabulary: number,
  gradientScale: number,
): void {
  checkCount("rows", rows);
  checkCount("vocabulary", vocabulary);
  kernels().exports.softmaxCrossEntropyBackwardF32(
    dLogits,
    logits,
    logSumExp,
    targets,
    rows,
    vocabulary,
    gradientScale,
  );
}
