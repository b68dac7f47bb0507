/**
 * What all architectures have in common: a table of tokens, blocks over a residual stream, a norm, a head and its loss. What
 * lies between is an architecture's `Layers`.
 */
import type { Pointer } from "../kernels/arena.ts";
import { embeddingBackward, embeddingForward } from "../kernels/embedding.ts";
import { kernels } from "../kernels/runtime.ts";
import {
  type Activations,
  allocActivations,
  type BatchShape,
} from "./activations.ts";
import { batchShape, checkTargets } from "./batch-checks.ts";
import { withGradients } from "./flat-vector.ts";
import type { Head } from "./head.ts";
import { forEachTile, headLoss } from "./head-loss.ts";
import type { Layers, ModelTensors, Parts, Sizes } from "./layers.ts";
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
  products: "between",
  inputs: "inside",
} as const satisfies Record<KeptActivations, unknown>;

/** Each of its passes is called inside `arena.scope`. */
export class Transformer<P extends Parts> implements Model {
  readonly shape: P["shape"];
  readonly #tensors: ModelTensors<P["block"], P["norm"]>;
  readonly #layers: Layers<P>;

  constructor(
    shape: P["shape"],
    tensors: ModelTensors<P["block"], P["norm"]>,
    layers: Layers<P>,
  ) {
    this.shape = shape;
    this.#tensors = tensors;
    this.#layers = layers;
  }

  get table(): ParameterTable {
    return this.#tensors.table;
  }

  loss(pass: Pass, batch: Batch): BatchLoss {
    const sizes = this.#sizesOf(batch.tokens, batch.sequences);
    checkTargets(this.shape, batch);
    const { arena } = kernels();
    return arena.scope(() => {
      const tokens = arena.copyIn(batch.tokens);
      const targets = arena.copyIn(batch.targets);
      const { hidden } = this.#forward(tokens, sizes, "nothing", pass);
      const head = this.#head(pass);
      const lossSum = headLoss(hidden, targets, sizes.batch.N, head);
      return { lossSum, tokens: countedTokens(batch.targets) };
    });
  }

  lossAndGradient(pass: BackwardPass, batch: Batch): BatchLoss {
    const sizes = this.#sizesOf(batch.tokens, batch.sequences);
    checkTargets(this.shape, batch);
    const { arena } = kernels();
    return arena.scope(() => {
      const { tokenEmbedding, head } = this.#tensors;
      const { gradient } = pass;
      const counted = countedTokens(batch.targets);
      const tokens = arena.copyIn(batch.tokens);
      const targets = arena.copyIn(batch.targets);
      // Tied, the head begins the token embedding's gradient, and the model's input ends it.
      const isTied = head === tokenEmbedding;
      const dTied = isTied ? gradient.open(tokenEmbedding) : undefined;
      const dResidual = arena.allocZeroedF32(sizes.batch.N * this.shape.width);
      const activations = this.#forward(tokens, sizes, pass.keeps, pass);
      const lossSum = this.#headBackward(
        dResidual,
        dTied,
        activations,
        { targets, counted },
        sizes,
        pass,
      );
      this.#blocksBackward(dResidual, activations, sizes, pass);
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
    });
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
      const { hidden } = this.#forward(at, sizes, "nothing", pass);
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

  /** From tokens i32 [B, T] to the head's input; in the caller's scope. */
  #forward(
    tokens: Pointer,
    sizes: Sizes<P>,
    keeps: KeptActivations | "nothing",
    pass: Pass,
  ): Activations<P["inside"], P["moments"]> {
    const { shape, batch } = sizes;
    const { room, block, norm } = this.#layers;
    const { tokenEmbedding, positionEmbedding, ...tensors } = this.#tensors;
    const { parameters } = pass;
    const activations = allocActivations(room(sizes), shape, batch, keeps);
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
    for (const [layer, own] of blocks.entries())
      block.forward(own, tensors.blocks[layer], { ...sizes, layer }, pass);
    const { output } = blocks.at(-1)!;
    norm.forward(hidden, final, output, tensors.finalNorm, sizes, pass);
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
    { blocks, hidden, final }: Activations<P["inside"], P["moments"]>,
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

  #blocksBackward(
    dResidual: Pointer,
    { blocks }: Activations<P["inside"], P["moments"]>,
    sizes: Sizes<P>,
    pass: BackwardPass,
  ): void {
    const { block } = this.#layers;
    const recomputed = RECOMPUTED[pass.keeps];
    const last = blocks.length - 1;
    for (let layer = last; layer >= 0; layer--) {
      const own = blocks[layer]!;
      const tensors = this.#tensors.blocks[layer];
      const place = { ...sizes, layer };
      // All of the last block is still there: no other has come after it.
      if (recomputed && layer < last)
        block[recomputed](own, tensors, place, pass);
      block.backward(dResidual, own, tensors, place, pass);
    }
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
