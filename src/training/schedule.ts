/** The learning rate: linear warm-up, then down by the run's schedule to a fraction of the peak. */
import type { OptimizerConfig } from "../api/optimizer.ts";
import { cosine } from "../kernels/vector.ts";
import type { LearningRates } from "./optimizer.ts";

/** The rates of that update by group. */
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
 * The fraction of the peak at the update that step `step` ends with. A pure function of its arguments,
 * through the kernels' own cosine, so it is the same on every machine.
 *
 *   step < warmup    (step + 1) / warmup
 *   then             r + (1 − r) · fall(p), p = (step − warmup) / (steps − warmup)
 *
 * with fall(p) = 1 − p (linear), (1 + cos πp) / 2 (cosine), or, constant, 1 and over the last `cooldownSteps`
 * linearly down to 0.
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
