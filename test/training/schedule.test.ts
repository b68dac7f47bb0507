import { expect, test } from "vitest";
import type { OptimizerConfig } from "../../src/api/types.ts";
import { learningRate } from "../../src/training/schedule.ts";
import "../support/kernels.ts";

const OPTIMIZER: OptimizerConfig = {
  learningRate: 1,
  finalLearningRateRatio: 0.1,
  warmupSteps: 10,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clip: 1,
};
const at = (step: number, changes: Partial<OptimizerConfig> = {}) =>
  learningRate({ ...OPTIMIZER, ...changes }, 110, step);

test("warm-up is linear, starts above zero and ends at the peak", () => {
  expect(at(0)).toBe(0.1);
  expect(at(4)).toBe(0.5);
  expect(at(9)).toBe(1);
  expect(at(10)).toBe(1);
});

test("then it follows a cosine to the final ratio", () => {
  expect(at(60)).toBeCloseTo(0.55, 12);
  expect(at(35)).toBeCloseTo(0.1 + 0.9 * (0.5 + Math.SQRT1_2 / 2), 12);
  expect(at(110)).toBeCloseTo(0.1, 12);
  for (let step = 10; step < 109; step++) {
    expect(at(step + 1)).toBeLessThan(at(step));
  }
});

test("without warm-up it starts at the peak, and a warm-up longer than the run is cut off", () => {
  expect(at(0, { warmupSteps: 0 })).toBe(1);
  expect(at(109, { warmupSteps: 1000 })).toBeCloseTo(0.11, 12);
});
