/** AdamW over a part of the flat vector: the update is one kernel call a tensor. */
import type { OptimizerConfig } from "../api/types.ts";
import type { Pointer } from "../kernels/arena.ts";
import { adamW } from "../kernels/vector.ts";
import type { ParameterGroup, ParameterTable } from "../model/parameters.ts";

/** f32 [length] each, at the same offset of the flat vector. */
export type OptimizerState = { parameters: Pointer; m: Pointer; v: Pointer };

/** What all shards of a step have in common; `Run` fixes it before any of them applies it. */
export type Update = {
  /** The step that this update ends. */
  step: number;
  /** min(1, clip / norm) */
  clipCoefficient: number;
  learningRates: LearningRates;
};

/** As each group's update applies it. */
export type LearningRates = Record<ParameterGroup, number>;

/** What AdamW does with each group. */
const GROUPS: Record<ParameterGroup, { decays: boolean }> = {
  matrix: { decays: true },
  embedding: { decays: true },
  vector: { decays: false },
};

/** The weight decay of a group's tensors. */
function weightDecay(
  optimizer: OptimizerConfig,
  group: ParameterGroup,
): number {
  return GROUPS[group].decays ? optimizer.weightDecay : 0;
}

/**
 * One update in place of `[start, start + length)`. Matrices and embeddings decay; biases and LayerNorm do not.
 * A tensor's padding goes with it: gradient and parameters are zero there, and stay so.
 */
export function updateRange(
  table: ParameterTable,
  optimizer: OptimizerConfig,
  state: OptimizerState,
  gradient: Pointer,
  start: number,
  length: number,
  update: Update,
): void {
  for (const [index, tensor] of table.tensors.entries()) {
    const next = table.tensors[index + 1]?.offset ?? table.length;
    const from = Math.max(tensor.offset, start);
    const to = Math.min(next, start + length);
    if (from >= to) continue;
    const bytes = 4 * (from - start);
    adamW(
      state.parameters + bytes,
      state.m + bytes,
      state.v + bytes,
      gradient + bytes,
      to - from,
      {
        updates: update.step + 1,
        learningRate: update.learningRates[tensor.group],
        beta1: optimizer.beta1,
        beta2: optimizer.beta2,
        epsilon: optimizer.epsilon,
        weightDecay: weightDecay(optimizer, tensor.group),
        gradientScale: update.clipCoefficient,
      },
    );
  }
}
