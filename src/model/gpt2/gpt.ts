/**
 * GPT-2 as functions of a flat parameter vector: its loss, its gradient, its logits. Each is called
 * inside `arena.scope`, with pointers into the shared memory.
 */
import { AppError } from "../../api/errors.ts";
import type { Recipe } from "../../api/recipe.ts";
import type { ModelShape } from "../../api/types.ts";
import type { Pointer } from "../../kernels/arena.ts";
import {
  embeddingBackward,
  embeddingForward,
  layerNormBackward,
  layerNormForward,
  softmaxCrossEntropyBackward,
  softmaxCrossEntropyForward,
} from "../../kernels/layers.ts";
import { kernels } from "../../kernels/runtime.ts";
import {
  allocActivations,
  type Activations,
  type BatchShape,
} from "./activations.ts";
import { blockBackward, type BlockContext, blockForward } from "./block.ts";
import { headBackward, headForward } from "./head.ts";
import type { NoiseCoordinates } from "../linear.ts";
import { PackedWeights } from "../packed-weights.ts";
import { parameterTable } from "./parameters.ts";
import { modelPointers, type ModelPointers } from "./pointers.ts";

export type { NoiseCoordinates } from "../linear.ts";

/** A target that is not counted in the loss. */
export const IGNORED_TARGET = -1;

export type Batch = {
  /** B */
  sequences: number;
  /** [B, T] */
  tokens: Int32Array;
  /** [B, T]; −1 is not counted. */
  targets: Int32Array;
};

/** Cross-entropy in nats, summed in f64 over the counted tokens. */
export type LossSum = { lossSum: number; tokens: number };

/** The loss only. `parameters` is f32 [table.length]; batches of one step share `packedWeights`. */
export function evaluateLoss(
  shape: ModelShape,
  recipe: Recipe,
  parameters: Pointer,
  batch: Batch,
  packedWeights = new PackedWeights(),
): LossSum {
  const sizes = batchShape(shape, batch.tokens, batch.sequences);
  checkTargets(shape, batch);
  const { arena } = kernels();
  return arena.scope(() => {
    const { N } = sizes;
    const precision = { recipe, packedWeights };
    const tokens = arena.copyIn(batch.tokens);
    const targets = arena.copyIn(batch.targets);
    const pointers = modelPointers(shape, parameters);
    const activations = allocActivations(shape, sizes, false);
    const logits = arena.allocF32(N * shape.vocabulary);
    const logSumExp = arena.allocF32(N);

    forward(activations, tokens, shape, precision, pointers, sizes);
    head(logits, activations.hidden, shape, recipe, pointers, N);
    const lossSum = softmaxCrossEntropyForward(
      logSumExp,
      logits,
      targets,
      N,
      shape.vocabulary,
    );
    return { lossSum, tokens: countedTokens(batch.targets) };
  });
}

/**
 * The loss, and the gradient of its mean over the counted tokens.
 * parameters, gradient f32 [table.length]; `gradient` is overwritten, padding becomes 0. Microbatches
 * of one step share `packedWeights`.
 */
export function lossAndGradient(
  shape: ModelShape,
  recipe: Recipe,
  parameters: Pointer,
  gradient: Pointer,
  batch: Batch,
  noise: NoiseCoordinates,
  packedWeights = new PackedWeights(),
): LossSum {
  const sizes = batchShape(shape, batch.tokens, batch.sequences);
  checkTargets(shape, batch);
  const { arena } = kernels();
  return arena.scope(() => {
    const { B, T, N } = sizes;
    const { width: C, vocabulary: V } = shape;
    const precision = { recipe, packedWeights };
    const table = parameterTable(shape);
    const counted = countedTokens(batch.targets);
    const tokens = arena.copyIn(batch.tokens);
    const targets = arena.copyIn(batch.targets);
    const pointers = modelPointers(shape, parameters, table);
    const gradients = modelPointers(shape, gradient, table);
    const activations = allocActivations(shape, sizes, true);
    const logits = arena.allocF32(N * V);
    const logSumExp = arena.allocF32(N);
    const dHidden = arena.allocF32(N * C);
    const dResidual = arena.allocZeroedF32(N * C);
    arena.f32(gradient, table.length).fill(0);

    forward(activations, tokens, shape, precision, pointers, sizes);
    head(logits, activations.hidden, shape, recipe, pointers, N);
    const lossSum = softmaxCrossEntropyForward(
      logSumExp,
      logits,
      targets,
      N,
      V,
    );

    // From here on `logits` hold their gradient.
    const share = counted > 0 ? 1 / counted : 0;
    softmaxCrossEntropyBackward(
      logits,
      logits,
      logSumExp,
      targets,
      N,
      V,
      share,
    );
    headBackward(
      dHidden,
      gradients.tokenEmbedding,
      logits,
      activations.hidden,
      pointers.tokenEmbedding,
      N,
      C,
      V,
      recipe,
    );
    const { blocks } = activations;
    layerNormBackward(
      dResidual,
      gradients.finalNorm,
      dHidden,
      blocks[blocks.length - 1].output,
      activations.finalMoments,
      pointers.finalNorm.weight,
      N,
      C,
    );
    for (let layer = shape.layers - 1; layer >= 0; layer--) {
      blockBackward(
        dResidual,
        gradients.blocks[layer],
        blocks[layer],
        pointers.blocks[layer],
        { shape, batch: sizes, layer, ...precision },
        noise,
      );
    }
    embeddingBackward(
      gradients.tokenEmbedding,
      gradients.positionEmbedding,
      dResidual,
      tokens,
      { sequences: B, length: T, width: C },
    );
    return { lossSum, tokens: counted };
  });
}

/** Logits of every position: f32 [B·T, V], copied out. `tokens` [B, T]. */
export function logits(
  shape: ModelShape,
  recipe: Recipe,
  parameters: Pointer,
  tokens: Int32Array,
  sequences: number,
): Float32Array<ArrayBuffer> {
  const sizes = batchShape(shape, tokens, sequences);
  return logitsOfRows(shape, recipe, parameters, tokens, sizes, 0, sizes.N);
}

/** Logits of the last position of one sequence: f32 [V], copied out. */
export function lastLogits(
  shape: ModelShape,
  recipe: Recipe,
  parameters: Pointer,
  tokens: Int32Array,
): Float32Array<ArrayBuffer> {
  const sizes = batchShape(shape, tokens, 1);
  return logitsOfRows(shape, recipe, parameters, tokens, sizes, sizes.N - 1, 1);
}

function logitsOfRows(
  shape: ModelShape,
  recipe: Recipe,
  parameters: Pointer,
  tokens: Int32Array,
  sizes: BatchShape,
  firstRow: number,
  rows: number,
): Float32Array<ArrayBuffer> {
  const { arena } = kernels();
  return arena.scope(() => {
    const pointers = modelPointers(shape, parameters);
    const activations = allocActivations(shape, sizes, false);
    const out = arena.allocF32(rows * shape.vocabulary);
    const hidden = activations.hidden + 4 * firstRow * shape.width;
    const precision = { recipe, packedWeights: new PackedWeights() };
    const copy = arena.copyIn(tokens);
    forward(activations, copy, shape, precision, pointers, sizes);
    head(out, hidden, shape, recipe, pointers, rows);
    return arena.f32(out, rows * shape.vocabulary).slice();
  });
}

/** How the blocks compute, and on which packed weights. */
type Precision = Pick<BlockContext, "recipe" | "packedWeights">;

/** From tokens i32 [B, T] to the head's input. */
function forward(
  activations: Activations,
  tokens: Pointer,
  shape: ModelShape,
  precision: Precision,
  pointers: ModelPointers,
  sizes: BatchShape,
): void {
  const { B, T, N } = sizes;
  const { width: C } = shape;
  const { blocks } = activations;
  embeddingForward(
    blocks[0].input,
    tokens,
    pointers.tokenEmbedding,
    pointers.positionEmbedding,
    { sequences: B, length: T, width: C },
  );
  for (let layer = 0; layer < shape.layers; layer++) {
    blockForward(blocks[layer], pointers.blocks[layer], {
      shape,
      batch: sizes,
      layer,
      ...precision,
    });
  }
  layerNormForward(
    activations.hidden,
    activations.finalMoments,
    blocks[blocks.length - 1].output,
    pointers.finalNorm,
    N,
    C,
  );
}

/** logits f32 [rows, V] of hidden f32 [rows, C]; the head is the token embedding. */
function head(
  out: Pointer,
  hidden: Pointer,
  shape: ModelShape,
  recipe: Recipe,
  pointers: ModelPointers,
  rows: number,
): void {
  const { width, vocabulary } = shape;
  const { tokenEmbedding } = pointers;
  headForward(out, hidden, tokenEmbedding, rows, width, vocabulary, recipe);
}

/** B, T and N of `tokens`, which are checked: the kernels read the embedding at each. */
function batchShape(
  shape: ModelShape,
  tokens: Int32Array,
  sequences: number,
): BatchShape {
  const N = tokens.length;
  const T = N / sequences;
  if (!Number.isSafeInteger(T) || T < 1 || T > shape.context) {
    throw new AppError(
      "shape_mismatch",
      `Expected ${sequences} sequences of 1 to ${shape.context} tokens each, got ${N} tokens`,
    );
  }
  checkTokens(tokens, 0, shape.vocabulary);
  return { B: sequences, T, N };
}

function checkTargets(shape: ModelShape, { tokens, targets }: Batch): void {
  if (targets.length !== tokens.length) {
    throw new AppError(
      "shape_mismatch",
      `Expected a target for each of ${tokens.length} tokens, got ${targets.length}`,
    );
  }
  checkTokens(targets, IGNORED_TARGET, shape.vocabulary);
}

function checkTokens(
  tokens: Int32Array,
  smallest: number,
  vocabulary: number,
): void {
  for (const token of tokens) {
    if (token < smallest || token >= vocabulary) {
      throw new AppError(
        "invalid_number",
        `Expected tokens from ${smallest} to ${vocabulary - 1}, got ${token}`,
      );
    }
  }
}

function countedTokens(targets: Int32Array): number {
  return targets.reduce(
    (count, target) => count + Number(target !== IGNORED_TARGET),
    0,
  );
}
