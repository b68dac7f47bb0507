/** GPT-2: its loss, its gradient, its logits. Each is called inside `arena.scope`. */
import { AppError } from "../../api/errors.ts";
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
  type Architecture,
  type BackwardPass,
  type Batch,
  type BatchLoss,
  IGNORED_TARGET,
  type Model,
  type Pass,
} from "../model.ts";
import type { ParameterTable } from "../parameters.ts";
import {
  allocActivations,
  type Activations,
  type BatchShape,
} from "./activations.ts";
import {
  blockBackward,
  blockBetween,
  blockForward,
  blockInside,
  readPair,
  withGradients,
} from "./block.ts";
import { checkShape, checkTrainingShape } from "./config.ts";
import { configOf, shapeOf } from "./hugging-face.ts";
import { headBackward, headForward } from "./head.ts";
import { type Gpt2Tensors, gpt2Tensors, parameterTable } from "./parameters.ts";

export const GPT2: Architecture = {
  check: checkShape,
  checkTraining: checkTrainingShape,
  huggingFaceConfig: configOf,
  importedShape: shapeOf,
  model: (shape) => new Gpt2(shape),
};

class Gpt2 implements Model {
  readonly shape: ModelShape;
  readonly table: ParameterTable;
  readonly #tensors: Gpt2Tensors;

  constructor(shape: ModelShape) {
    this.shape = shape;
    this.table = parameterTable(shape);
    this.#tensors = gpt2Tensors(shape, this.table);
  }

  loss(pass: Pass, batch: Batch): BatchLoss {
    const sizes = batchShape(this.shape, batch.tokens, batch.sequences);
    checkTargets(this.shape, batch);
    const { N } = sizes;
    const { vocabulary: V } = this.shape;
    const { arena } = kernels();
    return arena.scope(() => {
      const tokens = arena.copyIn(batch.tokens);
      const targets = arena.copyIn(batch.targets);
      const activations = allocActivations(this.shape, sizes, "nothing");
      this.#forward(activations, tokens, sizes, pass);
      const logits = arena.allocF32(N * V);
      const logSumExp = arena.allocF32(N);
      this.#head(logits, activations.hidden, N, pass);
      const lossSum = softmaxCrossEntropyForward(
        logSumExp,
        logits,
        targets,
        N,
        V,
      );
      return { lossSum, tokens: countedTokens(batch.targets) };
    });
  }

  lossAndGradient(pass: BackwardPass, batch: Batch): BatchLoss {
    const sizes = batchShape(this.shape, batch.tokens, batch.sequences);
    checkTargets(this.shape, batch);
    const { arena } = kernels();
    return arena.scope(() => {
      const { B, T, N } = sizes;
      const { width: C } = this.shape;
      const { tokenEmbedding, positionEmbedding } = this.#tensors;
      const { gradient } = pass;
      const counted = countedTokens(batch.targets);
      const tokens = arena.copyIn(batch.tokens);
      const targets = arena.copyIn(batch.targets);
      // Tied: the head begins the token embedding's gradient, the model's input ends it.
      const dTokenEmbedding = gradient.open(tokenEmbedding);
      const dResidual = arena.allocZeroedF32(N * C);
      const activations = allocActivations(this.shape, sizes, pass.keeps);

      this.#forward(activations, tokens, sizes, pass);
      const lossSum = this.#headLoss(
        dResidual,
        dTokenEmbedding,
        activations,
        { targets, counted },
        N,
        pass,
      );
      this.#blocksBackward(dResidual, activations, sizes, pass);
      arena.scope(() => {
        const dPositionEmbedding = gradient.open(positionEmbedding);
        embeddingBackward(
          dTokenEmbedding,
          dPositionEmbedding,
          dResidual,
          tokens,
          { sequences: B, length: T, width: C },
        );
        gradient.close(positionEmbedding, dPositionEmbedding);
      });
      gradient.close(tokenEmbedding, dTokenEmbedding);
      return { lossSum, tokens: counted };
    });
  }

  logits(
    pass: Pass,
    tokens: Int32Array,
    sequences: number,
  ): Float32Array<ArrayBuffer> {
    const sizes = batchShape(this.shape, tokens, sequences);
    const { N } = sizes;
    const { vocabulary } = this.shape;
    const { arena } = kernels();
    return arena.scope(() => {
      const activations = allocActivations(this.shape, sizes, "nothing");
      this.#forward(activations, arena.copyIn(tokens), sizes, pass);
      const out = arena.allocF32(N * vocabulary);
      this.#head(out, activations.hidden, N, pass);
      return arena.f32(out, N * vocabulary).slice();
    });
  }

  /** From tokens i32 [B, T] to the head's input. */
  #forward(
    activations: Activations,
    tokens: Pointer,
    sizes: BatchShape,
    pass: Pass,
  ): void {
    const { B, T, N } = sizes;
    const { width: C } = this.shape;
    const { tokenEmbedding, positionEmbedding, finalNorm } = this.#tensors;
    const { blocks, hidden, finalMoments } = activations;
    const { parameters } = pass;
    const { arena } = kernels();
    arena.scope(() =>
      embeddingForward(
        blocks[0].input,
        tokens,
        parameters.read(tokenEmbedding),
        parameters.read(positionEmbedding),
        { sequences: B, length: T, width: C },
      ),
    );
    for (const [layer, block] of blocks.entries()) {
      const place = { shape: this.shape, batch: sizes, layer };
      blockForward(block, this.#tensors.blocks[layer], place, pass);
    }
    const { output } = blocks[blocks.length - 1];
    arena.scope(() => {
      const norm = readPair(parameters, finalNorm);
      layerNormForward(hidden, finalMoments, output, norm, N, C);
    });
  }

  /**
   * The head, the loss, and their backward passes down to the blocks' output: overwrites `dResidual`
   * f32 [N, C] and adds to the token embedding's gradient. Logits are in memory only here.
   */
  #headLoss(
    dResidual: Pointer,
    dTokenEmbedding: Pointer,
    { blocks, hidden, finalMoments }: Activations,
    { targets, counted }: { targets: Pointer; counted: number },
    N: number,
    pass: BackwardPass,
  ): number {
    const { width: C, vocabulary: V } = this.shape;
    const { tokenEmbedding, finalNorm } = this.#tensors;
    const { parameters, recipe } = pass;
    const { arena } = kernels();
    return arena.scope(() => {
      const dHidden = arena.allocF32(N * C);
      const logits = arena.allocF32(N * V);
      const logSumExp = arena.allocF32(N);
      this.#head(logits, hidden, N, pass);
      const lossSum = softmaxCrossEntropyForward(
        logSumExp,
        logits,
        targets,
        N,
        V,
      );
      // From here on `logits` hold their gradient.
      softmaxCrossEntropyBackward(
        logits,
        logits,
        logSumExp,
        targets,
        N,
        V,
        counted > 0 ? 1 / counted : 0,
      );
      headBackward(
        dHidden,
        dTokenEmbedding,
        logits,
        hidden,
        parameters.read(tokenEmbedding),
        N,
        C,
        V,
        recipe,
      );
      withGradients(pass, finalNorm, (gradients) =>
        layerNormBackward(
          dResidual,
          gradients,
          dHidden,
          blocks[blocks.length - 1].output,
          finalMoments,
          parameters.read(finalNorm.weight),
          N,
          C,
        ),
      );
      return lossSum;
    });
  }

  #blocksBackward(
    dResidual: Pointer,
    { blocks }: Activations,
    sizes: BatchShape,
    pass: BackwardPass,
  ): void {
    const last = blocks.length - 1;
    for (let layer = last; layer >= 0; layer--) {
      const [block, tensors] = [blocks[layer], this.#tensors.blocks[layer]];
      const place = { shape: this.shape, batch: sizes, layer };
      // All of the last block is still there: no other has come after it.
      if (layer < last) recompute[pass.keeps](block, tensors, place, pass);
      blockBackward(dResidual, block, tensors, place, pass);
    }
  }

  /** logits f32 [rows, V] of hidden f32 [rows, C]; the head is the token embedding. */
  #head(
    out: Pointer,
    hidden: Pointer,
    rows: number,
    { parameters, recipe }: Pass,
  ): void {
    const { width, vocabulary } = this.shape;
    kernels().arena.scope(() => {
      const embedding = parameters.read(this.#tensors.tokenEmbedding);
      headForward(out, hidden, embedding, rows, width, vocabulary, recipe);
    });
  }
}

/** What a block's backward pass reads and its forward pass has not left. */
const recompute = {
  all: () => undefined,
  products: blockBetween,
  inputs: blockInside,
} as const;

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
