import { expect, test } from "vitest";
import {
  completeOptimizer,
  type OptimizerConfig,
  optimizerProblems,
} from "../../src/api/optimizer.ts";
import { heightAt, learningRates } from "../../src/training/schedule.ts";
import "../support/kernels.ts";

const OPTIMIZER = completeOptimizer({
  name: "adamw-cosine",
  learningRate: 1,
  finalLearningRateRatio: 0.1,
  warmupSteps: 10,
});
const at = (step: number, changes: Partial<OptimizerConfig> = {}) =>
  heightAt({ ...OPTIMIZER, ...changes }, 110, step);

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

test("or a line to it, or stays until it cools down", () => {
  const linear = { schedule: "linear" } as const;
  expect(at(10, linear)).toBe(1);
  expect(at(60, linear)).toBeCloseTo(0.55, 12);
  expect(at(109, linear)).toBeCloseTo(0.109, 12);
  const constant = { schedule: "constant", cooldownSteps: 20 } as const;
  expect(at(90, constant)).toBe(1);
  expect(at(100, constant)).toBeCloseTo(0.55, 12);
  expect(at(109, constant)).toBeCloseTo(0.145, 12);
  expect(at(109, { schedule: "constant", cooldownSteps: 0 })).toBe(1);
});

test("without warm-up it starts at the peak, and a warm-up longer than the run is cut off", () => {
  expect(at(0, { warmupSteps: 0 })).toBe(1);
  expect(at(109, { warmupSteps: 1000 })).toBeCloseTo(0.11, 12);
});

test("groups have rates of their own; AdamW's one rate rules both unless told", () => {
  const muon = completeOptimizer({});
  expect(learningRates(muon, 100, 50)).toEqual({
    matrix: 0.015,
    embedding: 0.004,
    vector: 0.004,
  });
  expect(completeOptimizer({ name: "adamw", learningRate: 1 })).toMatchObject({
    learningRate: 1,
    matrixLearningRate: 1,
  });
  expect(completeOptimizer({ learningRate: 1 }).matrixLearningRate).toBe(0.03);
});

test.each([
  [
    { name: "adamw", momentum: 0.9 },
    "`optimizer.momentum` with optimizer muon",
  ],
  [{ cooldownSteps: 5 }, "`optimizer.cooldownSteps` with schedule constant"],
  [
    { schedule: "constant", finalLearningRateRatio: 0.1 },
    "`optimizer.finalLearningRateRatio` with `cooldownSteps` where the schedule is constant, got 0.1 with none",
  ],
  [
    { schedule: "constant", warmupSteps: 60, cooldownSteps: 50 },
    "at most 100 steps of warm-up and cool-down, got 60 and 50",
  ],
  [
    { warmupSteps: 101 },
    "`optimizer.warmupSteps` to be at most the run's 100 steps, got 101",
  ],
] as const)("%j is refused", (given, message) => {
  const problems = (told: Partial<OptimizerConfig>) =>
    optimizerProblems(told, completeOptimizer(told), 100);
  expect(problems(given).join()).toContain(message);
  expect(problems({})).toEqual([]);
});
