/**
 * One update of a part of the flat vector: AdamW tensor by tensor, and of matrices, where the run's optimizer
 * says so, Muon.
 */
import { type OptimizerConfig, OPTIMIZERS } from "../api/optimizer.ts";
import type { Pointer } from "../kernels/arena.ts";
import { transpose } from "../kernels/matmul.ts";
import { orthogonalize } from "../kernels/orthogonalize.ts";
import { kernels } from "../kernels/runtime.ts";
import { adamW, blend, nesterov } from "../kernels/vector.ts";
import type {
  ParameterGroup,
  ParameterTable,
  ParameterTensor,
} from "../model/parameters.ts";

/**
 * f32 [length] each, at the same offset of the flat vector. Of a matrix that Muon updates, `m` is its momentum and
 * `v` the direction of the latest update.
 */
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

const DECAYS: Record<ParameterGroup, boolean> = {
  matrix: true,
  embedding: true,
  vector: false,
};

/** Whether `updateMatrix` has to follow `updateRange` for this tensor. */
export function isOrthogonalized(
  { name }: OptimizerConfig,
  { group }: ParameterTensor,
): boolean {
  return group === "matrix" && OPTIMIZERS[name].matrices === "muon";
}

/**
 * One update in place of `[start, start + length)`; of a matrix of Muon's its momentum and direction only, since
 * those may come piece by piece. Matrices and embeddings decay; biases and LayerNorm do not.
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
    const [m, v] = [state.m + bytes, state.v + bytes];
    if (isOrthogonalized(optimizer, tensor)) {
      nesterov(v, m, gradient + bytes, to - from, optimizer.momentum);
      continue;
    }
    adamW(state.parameters + bytes, m, v, gradient + bytes, to - from, {
      updates: update.step + 1,
      learningRate: update.learningRates[tensor.group],
      beta1: optimizer.beta1,
      beta2: optimizer.beta2,
      epsilon: optimizer.epsilon,
      weightDecay: DECAYS[tensor.group] ? optimizer.weightDecay : 0,
      gradientScale: update.clipCoefficient,
    });
  }
}

/**
 * Muon's update of a whole matrix, in place: the direction, orthogonalized, as large for each output as for a
 * square matrix. Matrices that stand side by side are orthogonalized apart.
 *
 *   W = (1 − rate · weightDecay) · W − rate · √max(1, out / in) · orthogonal(direction)
 *
 * Shapes:   parameters, direction f32 [in, out]
 * Source:   Jordan et al., Muon (2024); the decay as in Liu et al., arXiv 2502.16982
 */
export function updateMatrix(
  { shape, sideBySide }: Pick<ParameterTensor, "shape" | "sideBySide">,
  parameters: Pointer,
  direction: Pointer,
  rate: number,
  weightDecay: number,
): void {
  const { arena } = kernels();
  const [rows, allColumns] = shape as [number, number];
  const columns = allColumns / sideBySide;
  const size = rate * Math.sqrt(Math.max(1, columns / rows));
  for (let part = 0; part < sideBySide; part++) {
    arena.scope(() => {
      const x = arena.allocF32(rows * columns);
      const eachRow = (body: (at: number, to: number) => void): void => {
        for (let row = 0; row < rows; row++) {
          body(row * allColumns + part * columns, row * columns);
        }
      };
      const [from, to] = [
        arena.f32(direction, rows * allColumns),
        arena.f32(x, rows * columns),
      ];
      eachRow((at, own) => to.set(from.subarray(at, at + columns), own));
      orthogonalizeAny(x, rows, columns);
      eachRow((at, own) =>
        blend(
          parameters + 4 * at,
          x + 4 * own,
          columns,
          1 - rate * weightDecay,
          -size,
        ),
      );
    });
  }
}

/** x f32 [rows, columns], in place, whichever is more. */
function orthogonalizeAny(x: Pointer, rows: number, columns: number): void {
  const { arena } = kernels();
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
