/** The learning-rate schedule: linear warm-up, then a decay to a fraction of the peak. */
import type { OptimizerConfig } from "../api/optimizer.ts";
import { cosine } from "../kernels/vector.ts";
import type { LearningRates } from "./optimizer.ts";

/** The learning rate of each group at the update that ends `step`. */
export function learningRates(
  optimizer: OptimizerConfig,
  steps: number,
  step: number,
): LearningRates {
  const height = heightAt(optimizer, steps, step);
  const rate = optimizer.learningRate * height;
  const matrix = optimizer.matrixLearningRate * height;
  return { matrix, embedding: rate, vector: rate };
}

/**
 * The fraction of the peak learning rate at the update that ends `step`. A pure function, using the kernels' cosine,
 * so that it is the same on every machine.
 *
 *   step < warmup    (step + 1) / warmup
 *   then             r + (1 − r) · fall(p), p = (step − warmup) / (steps − warmup)
 *
 * where r is `finalLearningRateRatio`, and fall(p) = 1 − p (linear), (1 + cos πp) / 2 (cosine), or 1 and, over the
 * last `cooldownSteps`, linearly down to 0 (constant).
 */
export function heightAt(
  optimizer: OptimizerConfig,
  steps: number,
  step: number,
): number {
  const { finalLearningRateRatio: ratio, warmupSteps } = optimizer;
  if (step < warmupSteps) return (step + 1) / warmupSteps;
  return ratio + (1 - ratio) * fall(optimizer, steps, step);
}

function fall(
  { schedule, warmupSteps, cooldownSteps }: OptimizerConfig,
  steps: number,
  step: number,
): number {
  const progress = (step - warmupSteps) / (steps - warmupSteps);
  switch (schedule) {
    case "linear":
      return 1 - progress;
    case "cosine":
      return (1 + cosine(Math.PI * progress)) / 2;
    case "constant":
      return Math.min(1, (steps - step) / cooldownSteps);
  }
}
