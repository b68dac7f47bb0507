/** One optimizer update: AdamW element by element, or Muon for matrices if the run's optimizer uses it. */
import { type OptimizerConfig, OPTIMIZERS } from "../api/optimizer.ts";
import type { Pointer } from "../kernels/arena.ts";
import { transpose } from "../kernels/matmul.ts";
import { orthogonalize } from "../kernels/orthogonalize.ts";
import { kernels } from "../kernels/runtime.ts";
import { adamW, blendColumns, copyColumns } from "../kernels/vector.ts";
import {
  featuresOf,
  paddedLength,
  type ParameterGroup,
  type ParameterTensor,
} from "../model/parameters.ts";

/** What all shards apply in a step; fixed by `Run` before any of them applies it. */
export type Update = {
  /** The step that this update ends. */
  step: number;
  /** min(1, clip / norm) */
  clipCoefficient: number;
  learningRates: LearningRates;
};

/** The learning rate of each parameter group. */
export type LearningRates = Record<ParameterGroup, number>;

const DECAYS: Record<ParameterGroup, boolean> = {
  matrix: true,
  embedding: true,
  vector: false,
};

/** Names of the moments that a group's update keeps, each f32 [length of the group]. */
export function momentsOf(
  { name }: OptimizerConfig,
  group: ParameterGroup,
): readonly string[] {
  const rule = group === "matrix" ? OPTIMIZERS[name].matrices : "adamw";
  return rule === "muon" ? ["momentum"] : ["m", "v"];
}

/** Whether the tensor is updated as a whole, by `updateMatrix`, and not by `updateElements`. */
export function isOrthogonalized(
  { name }: OptimizerConfig,
  { group }: Pick<ParameterTensor, "group">,
): boolean {
  return group === "matrix" && OPTIMIZERS[name].matrices === "muon";
}

/**
 * AdamW update of elements of one group, in place. Matrices and embeddings decay, biases and LayerNorm do not.
 * Padding is updated with its tensor: gradient and parameters are zero there, and stay so.
 *
 * Shapes:   parameters, gradient, each of `moments` f32 [length]
 */
export function updateElements(
  group: ParameterGroup,
  optimizer: OptimizerConfig,
  parameters: Pointer,
  moments: readonly Pointer[],
  gradient: Pointer,
  length: number,
  update: Update,
): void {
  const [m, v] = moments as [Pointer, Pointer];
  adamW(parameters, m, v, gradient, length, {
    updates: update.step + 1,
    learningRate: update.learningRates[group],
    beta1: optimizer.beta1,
    beta2: optimizer.beta2,
    epsilon: optimizer.epsilon,
    weightDecay: DECAYS[group] ? optimizer.weightDecay : 0,
    gradientScale: update.clipCoefficient,
  });
}

/**
 * Muon update of a whole matrix, in place: the orthogonalized direction, scaled so that its size per output is that
 * of a square matrix. Matrices stored side by side (`sideBySide` in one tensor, such as Q, K, V) are orthogonalized
 * separately.
 *
 *   W = (1 − rate · weightDecay) · W − rate · √max(1, out / in) · orthogonal(direction)
 *
 * Shapes:   parameters, direction f32 [in, out] or [out, in], as `layout` says
 * Source:   Jordan et al., Muon (2024); the decay as in Liu et al., arXiv 2502.16982
 */
export function updateMatrix(
  {
    shape,
    layout,
    sideBySide,
  }: Pick<ParameterTensor, "shape" | "layout" | "sideBySide">,
  parameters: Pointer,
  direction: Pointer,
  rate: number,
  weightDecay: number,
): void {
  const { arena } = kernels();
  const [rows, allColumns] = shape as [number, number];
  const columns = allColumns / sideBySide;
  const { inFeatures, outFeatures } = featuresOf({
    shape: [rows, columns],
    layout,
  });
  const size = rate * Math.sqrt(Math.max(1, outFeatures / inFeatures));
  for (let part = 0; part < sideBySide; part++) {
    const at = 4 * part * columns;
    arena.scope(() => {
      const x = arena.allocF32(rows * columns);
      copyColumns(x, direction + at, allColumns, rows, columns);
      orthogonalizeAny(x, rows, columns);
      const kept = 1 - rate * weightDecay;
      blendColumns(parameters + at, allColumns, x, rows, columns, kept, -size);
    });
  }
}

/** Orthogonalizes x f32 [rows, columns] in place, tall or wide, of any size. */
function orthogonalizeAny(x: Pointer, rows: number, columns: number): void {
  const { arena } = kernels();
  const tall = paddedLength({ length: rows });
  const wide = paddedLength({ length: columns });
  if (tall > rows || wide > columns) {
    // GEMMs need padded sizes. Zero rows and columns do not affect the others, and stay zero.
    arena.scope(() => {
      const filled = arena.allocZeroedF32(tall * wide);
      blendColumns(filled, wide, x, rows, columns, 0, 1);
      orthogonalizeAny(filled, tall, wide);
      copyColumns(x, filled, wide, rows, columns);
    });
    return;
  }
  if (rows <= columns) {
    orthogonalize(x, rows, columns);
    return;
  }
  arena.scope(() => {
    const turned = arena.allocF32(rows * columns);
    transpose(turned, x, rows, columns);
    orthogonalize(turned, columns, rows);
    transpose(x, turned, columns, rows);
  });
}
