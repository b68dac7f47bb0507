/**
 * What all architectures have in common: a table of tokens, blocks over a residual stream, a norm, a head and its loss. What
 * lies between is an architecture's `Layers`.
 */
import type { Pointer } from "../kernels/arena.ts";
import { embeddingBackward, embeddingForward } from "../kernels/embedding.ts";
import { kernels } from "../kernels/runtime.ts";
import { finish, type Steps } from "../kernels/steps.ts";
import { type Activations, allocActivations } from "./activations.ts";
import { batchShape, checkTargets } from "./batch-checks.ts";
import {
  blockBackward,
  blockBetween,
  blockForward,
  blockInside,
} from "./block.ts";
import { withGradients } from "./flat-vector.ts";
import type { Head } from "./head.ts";
import { forEachTile, headLoss } from "./head-loss.ts";
import type {
  BatchShape,
  Block,
  Layers,
  ModelTensors,
  Parts,
  Sizes,
} from "./layers.ts";
import {
  type BackwardPass,
  type Batch,
  type BatchLoss,
  IGNORED_TARGET,
  type KeptActivations,
  type Model,
  type Pass,
} from "./model.ts";
import type { ParameterTable } from "./parameters.ts";

/** What a block's backward pass reads and its forward pass has not left. */
const RECOMPUTED = {
  all: undefined,
  products: blockBetween,
  inputs: blockInside,
} as const satisfies Record<KeptActivations, unknown>;

/** Each of its passes is called inside `arena.scope`. */
export class Transformer<P extends Parts> implements Model {
  readonly shape: P["shape"];
  readonly #tensors: ModelTensors<P["block"]>;
  readonly #layers: Layers<P>;

  constructor(
    shape: P["shape"],
    tensors: ModelTensors<P["block"]>,
    layers: Layers<P>,
  ) {
    this.shape = shape;
    this.#tensors = tensors;
    this.#layers = layers;
  }

  get table(): ParameterTable {
    return this.#tensors.table;
  }

  loss(pass: Pass, batch: Batch): Steps<BatchLoss> {
    const sizes = this.#sizesOf(batch.tokens, batch.sequences);
    checkTargets(this.shape, batch);
    return kernels().arena.scopeOf(() => this.#loss(pass, batch, sizes));
  }

  lossAndGradient(pass: BackwardPass, batch: Batch): Steps<BatchLoss> {
    const sizes = this.#sizesOf(batch.tokens, batch.sequences);
    checkTargets(this.shape, batch);
    return kernels().arena.scopeOf(() =>
      this.#lossAndGradient(pass, batch, sizes),
    );
  }

  logits(
    pass: Pass,
    tokens: Int32Array,
    sequences: number,
  ): Float32Array<ArrayBuffer> {
    const sizes = this.#sizesOf(tokens, sequences);
    const { N } = sizes.batch;
    const { vocabulary: V } = this.shape;
    const { arena } = kernels();
    return arena.scope(() => {
      const at = arena.copyIn(tokens);
      const { hidden } = finish(this.#forward(at, sizes, "nothing", pass));
      const all = new Float32Array(N * V);
      forEachTile(hidden, N, this.#head(pass), (logits, row, rows) =>
        all.set(arena.f32(logits, rows * V), row * V),
      );
      return all;
    });
  }

  #sizesOf(tokens: Int32Array, sequences: number): Sizes<P> {
    const { shape } = this;
    return { shape, batch: batchShape(shape, tokens, sequences) };
  }

  #block(layer: number, sizes: Sizes<P>): Block<P> {
    return { ...sizes, layer, tensors: this.#tensors.blocks[layer]! };
  }

  /** In the caller's scope. */
  *#loss(pass: Pass, batch: Batch, sizes: Sizes<P>): Steps<BatchLoss> {
    const { arena } = kernels();
    const tokens = arena.copyIn(batch.tokens);
    const targets = arena.copyIn(batch.targets);
    const { hidden } = yield* this.#forward(tokens, sizes, "nothing", pass);
    const head = this.#head(pass);
    const lossSum = headLoss(hidden, targets, sizes.batch.N, head);
    return { lossSum, tokens: countedTokens(batch.targets) };
  }

  /** In the caller's scope. */
  *#lossAndGradient(
    pass: BackwardPass,
    batch: Batch,
    sizes: Sizes<P>,
  ): Steps<BatchLoss> {
    const { arena } = kernels();
    const { tokenEmbedding, head } = this.#tensors;
    const { gradient } = pass;
    const counted = countedTokens(batch.targets);
    const tokens = arena.copyIn(batch.tokens);
    const targets = arena.copyIn(batch.targets);
    // Tied, the head begins the token embedding's gradient, and the model's input ends it.
    const isTied = head === tokenEmbedding;
    const dTied = isTied ? gradient.open(tokenEmbedding) : undefined;
    const dResidual = arena.allocZeroedF32(sizes.batch.N * this.shape.width);
    const activations = yield* this.#forward(tokens, sizes, pass.keeps, pass);
    const lossSum = this.#headBackward(
      dResidual,
      dTied,
      activations,
      { targets, counted },
      sizes,
      pass,
    );
    yield* this.#blocksBackward(dResidual, activations, sizes, pass);
    arena.scope(() => {
      const dTokenEmbedding = dTied ?? gradient.open(tokenEmbedding);
      this.#embeddingBackward(
        dTokenEmbedding,
        dResidual,
        tokens,
        sizes.batch,
        pass,
      );
      if (!isTied) gradient.close(tokenEmbedding, dTokenEmbedding);
    });
    if (dTied !== undefined) gradient.close(tokenEmbedding, dTied);
    return { lossSum, tokens: counted };
  }

  /** From tokens i32 [B, T] to the head's input; in the caller's scope. */
  *#forward(
    tokens: Pointer,
    sizes: Sizes<P>,
    keeps: KeptActivations | "nothing",
    pass: Pass,
  ): Steps<Activations<P>> {
    const { shape, batch } = sizes;
    const layers = this.#layers;
    const { tokenEmbedding, positionEmbedding, finalNorm } = this.#tensors;
    const { parameters } = pass;
    const activations = allocActivations(layers, sizes, keeps);
    const { blocks, final, hidden } = activations;
    kernels().arena.scope(() =>
      embeddingForward(
        blocks[0]!.input,
        tokens,
        parameters.read(tokenEmbedding),
        positionEmbedding && parameters.read(positionEmbedding),
        { sequences: batch.B, length: batch.T, width: shape.width },
      ),
    );
    for (const [layer, own] of blocks.entries()) {
      yield;
      blockForward(layers, own, this.#block(layer, sizes), pass);
    }
    yield;
    const { output } = blocks.at(-1)!;
    layers.norm.forward(hidden, final, output, finalNorm, sizes, pass);
    return activations;
  }

  /** In the caller's scope. */
  #head({ parameters, recipe }: Pass): Head {
    const { width, vocabulary } = this.shape;
    const weight = parameters.read(this.#tensors.head);
    return { weight, vocabulary, width, recipe };
  }

  /**
   * The head, the loss, and their backward passes down to the blocks' output: overwrites `dResidual`
   * f32 [N, C], and adds to the head's gradient, which is `dTied` or its own.
   */
  #headBackward(
    dResidual: Pointer,
    dTied: Pointer | undefined,
    { blocks, hidden, final }: Activations<P>,
    { targets, counted }: { targets: Pointer; counted: number },
    sizes: Sizes<P>,
    pass: BackwardPass,
  ): number {
    const { head, finalNorm } = this.#tensors;
    const { arena } = kernels();
    return arena.scope(() => {
      const dHidden = hidden; // Nobody reads it any more then.
      const scale = counted > 0 ? 1 / counted : 0;
      const loss = (dWeight: Pointer): number =>
        headLoss(hidden, targets, sizes.batch.N, this.#head(pass), {
          dHidden,
          dWeight,
          scale,
        });
      const lossSum =
        dTied === undefined
          ? withGradients(pass.gradient, [head], ([dHead]) => loss(dHead!))
          : arena.scope(() => loss(dTied));
      const { output } = blocks.at(-1)!;
      this.#layers.norm.backward(
        dResidual,
        dHidden,
        output,
        final,
        finalNorm,
        sizes,
        pass,
      );
      return lossSum;
    });
  }

  *#blocksBackward(
    dResidual: Pointer,
    { blocks }: Activations<P>,
    sizes: Sizes<P>,
    pass: BackwardPass,
  ): Steps<void> {
    const layers = this.#layers;
    const recompute = RECOMPUTED[pass.keeps];
    const last = blocks.length - 1;
    for (let layer = last; layer >= 0; layer--) {
      yield;
      const own = blocks[layer]!;
      const block = this.#block(layer, sizes);
      // All of the last block is still there: no other has come after it.
      if (layer < last) recompute?.(layers, own, block, pass);
      blockBackward(layers, dResidual, own, block, pass);
    }
    yield;
  }

  #embeddingBackward(
    dTokenEmbedding: Pointer,
    dResidual: Pointer,
    tokens: Pointer,
    { B, T }: BatchShape,
    { gradient }: BackwardPass,
  ): void {
    const { positionEmbedding } = this.#tensors;
    const shape = { sequences: B, length: T, width: this.shape.width };
    withGradients(
      gradient,
      positionEmbedding ? [positionEmbedding] : [],
      ([dPositionEmbedding]) =>
        embeddingBackward(
          dTokenEmbedding,
          dPositionEmbedding,
          dResidual,
          tokens,
          shape,
        ),
    );
  }
}

function countedTokens(targets: Int32Array): number {
  return targets.reduce(
    (count, target) => count + Number(target !== IGNORED_TARGET),
    0,
  );
}
