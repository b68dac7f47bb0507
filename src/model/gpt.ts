/** GPT-2 as one function of a flat parameter vector: its loss, its gradient, its logits. */
import type { Recipe } from "../api/recipe.ts";
import type { ModelShape } from "../api/types.ts";
import type { Pointer } from "../kernels/arena.ts";
import type { NoiseCoordinates } from "./linear.ts";

export type { NoiseCoordinates } from "./linear.ts";

export type Batch = {
  /** B */
  sequences: number;
  /** [B, T] */
  tokens: Int32Array;
  /** [B, T]; −1 is not counted. */
  targets: Int32Array;
};

/** Cross-entropy in nats, summed over the counted tokens. */
export type LossSum = { lossSum: number; tokens: number };

/** The loss only. `parameters` is f32 [table.length]. Called inside `arena.scope`. */
export function evaluateLoss(
  _shape: ModelShape,
  _recipe: Recipe,
  _parameters: Pointer,
  _batch: Batch,
): LossSum {
  throw new Error("in work");
}

/** The loss, and the gradient of its mean over the counted tokens to f32 `gradient` [table.length]. */
export function lossAndGradient(
  _shape: ModelShape,
  _recipe: Recipe,
  _parameters: Pointer,
  _gradient: Pointer,
  _batch: Batch,
  _noise: NoiseCoordinates,
): LossSum {
  throw new Error("in work");
}

/** Logits of every position: f32 [B·T, V], copied out. */
export function logits(
  _shape: ModelShape,
  _recipe: Recipe,
  _parameters: Pointer,
  _tokens: Int32Array,
  _sequences: number,
): Float32Array<ArrayBuffer> {
  throw new Error("in work");
}
