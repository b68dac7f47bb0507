/** The learning rate: linear warm-up, then a cosine down to a fraction of the peak. */
import type { OptimizerConfig } from "../api/types.ts";
import { cosine } from "../kernels/vector.ts";
import type { LearningRates } from "./optimizer.ts";

/** The rates of that update by group: AdamW has one for all. */
export function learningRates(
  optimizer: OptimizerConfig,
  steps: number,
  step: number,
): LearningRates {
  const rate = learningRate(optimizer, steps, step);
  return { matrix: rate, embedding: rate, vector: rate };
}

/**
 * The learning rate of the update that step `step` ends with. A pure function of its arguments,
 * through the kernels' own cosine, so it is the same on every machine.
 *
 *   step < warmup    peak · (step + 1) / warmup
 *   then             peak · (r + (1 − r) · (1 + cos(π · (step − warmup) / (steps − warmup))) / 2)
 */
export function learningRate(
  optimizer: OptimizerConfig,
  steps: number,
  step: number,
): number {
  const { learningRate: peak, finalLearningRateRatio, warmupSteps } = optimizer;
  if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps;
  const progress = (step - warmupSteps) / (steps - warmupSteps);
  const height = (1 + cosine(Math.PI * progress)) / 2;
  return (
    peak * (finalLearningRateRatio + (1 - finalLearningRateRatio) * height)
  );
}
