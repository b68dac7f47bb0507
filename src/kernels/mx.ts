/** Definitions common to the MX formats of OCP MX v1.0. */
import { AppError } from "../api/errors.ts";
import {
  type NearestMode,
  SCALE_RULES,
  type ScaleRule,
} from "../api/scheme.ts";
import { checkMultiple } from "./check.ts";
import type { NoiseKey } from "./noise.ts";

/** Elements that share a scale. */
export const BLOCK_SIZE = 32;

/** Stochastic rounding, with its noise. */
export type StochasticRounding = {
  mode: "stochastic";
  key: NoiseKey;
  /** Index of `input[0]` in the tensor that the key names; even. */
  firstElement: number;
};

/** A scale rule's number in the kernels. Errors: RangeError for mse with stochastic rounding */
export function scaleRule(
  scale: ScaleRule,
  { mode }: { mode: NearestMode } | StochasticRounding,
): number {
  if (scale === "mse" && mode === "stochastic")
    throw new RangeError(
      "Expected a rounding to nearest for scale mse, got stochastic",
    );
  return SCALE_RULES.indexOf(scale);
}

/** The noise pair that `input[0]` uses. Errors: `shape_mismatch` beyond the counter's range */
export function firstPair(
  { firstElement }: StochasticRounding,
  length: number,
): number {
  checkMultiple("firstElement", firstElement, 2);
  const first = firstElement / 2;
  if (first + length / 2 <= 2 ** 32) return first;
  throw new AppError(
    "shape_mismatch",
    `Expected fewer than 2^33 elements in a tensor, got index ${firstElement}`,
  );
}
