/**
 * What all architectures have in common: a table of tokens, blocks over a residual stream, a norm, a head and its loss. What
 * lies between is an architecture's `Layers`.
 */
import type { ModelShape } from "../api/run-config.ts";
import type { Pointer } from "../kernels/arena.ts";
import { embeddingBackward, embeddingForward } from "../kernels/embedding.ts";
import { kernels } from "../kernels/runtime.ts";
import {
  type Activations,
  allocActivations,
  type BatchShape,
  type Ends,
  type Room,
} from "./activations.ts";
import { batchShape, checkTargets } from "./batch-checks.ts";
import { withGradients } from "./flat-vector.ts";
import { forEachTile, type Head, headLoss } from "./head.ts";
import {
  type BackwardPass,
  type Batch,
  type BatchLoss,
  IGNORED_TARGET,
  type KeptActivations,
  type Model,
  type Pass,
} from "./model.ts";
import type { ParameterTable, ParameterTensor } from "./parameters.ts";

/** The parts of one model. `sizes` are those of the batch; activations are those that `room` gave. */
export interface Layers<Between, Inside, Final> {
  readonly table: ParameterTable;
  /** [V, C] */
  readonly tokenEmbedding: ParameterTensor;
  /** [T, C], where positions have one. */
  readonly positionEmbedding: ParameterTensor | undefined;
  /** [V, C]; the table of tokens where it is tied to it. */
  readonly head: ParameterTensor;

  room(sizes: BatchShape): Room<Between, Inside, Final>;

  blockForward(
    block: Inside & Ends,
    layer: number,
    sizes: BatchShape,
    pass: Pass,
  ): void;
  /** What the backward pass reads and the forward pass has not left. */
  recompute: Record<
    KeptActivations,
    (block: Inside & Ends, layer: number, sizes: BatchShape, pass: Pass) => void
  >;
  /** `dResidual` f32 [N, C]: the gradient of the block's output becomes that of its input. */
  blockBackward(
    dResidual: Pointer,
    block: Inside & Ends,
    layer: number,
    sizes: BatchShape,
    pass: BackwardPass,
  ): void;

  /** hidden = norm(x). f32 [N, C] */
  finalForward(
    hidden: Pointer,
    final: Final,
    x: Pointer,
    sizes: BatchShape,
    pass: Pass,
  ): void;
  /** Adds to `dX`. */
  finalBackward(
    dX: Pointer,
    dHidden: Pointer,
    final: Final,
    x: Pointer,
    sizes: BatchShape,
    pass: BackwardPass,
  ): void;
}

/** Each of its passes is called inside `arena.scope`. */
export class Transformer<Between, Inside, Final> implements Model {
  readonly shape: ModelShape;
  readonly table: ParameterTable;
  readonly #layers: Layers<Between, Inside, Final>;

  constructor(shape: ModelShape, layers: Layers<Between, Inside, Final>) {
    this.shape = shape;
    this.table = layers.table;
    this.#layers = layers;
  }

  loss(pass: Pass, batch: Batch): BatchLoss {
    const sizes = batchShape(this.shape, batch.tokens, batch.sequences);
    checkTargets(this.shape, batch);
    const { arena } = kernels();
    return arena.scope(() => {
      const tokens = arena.copyIn(batch.tokens);
      const targets = arena.copyIn(batch.targets);
      const activations = this.#alloc(sizes, "nothing");
      this.#forward(activations, tokens, sizes, pass);
      const head = this.#head(pass);
      const lossSum = headLoss(activations.hidden, targets, sizes.N, head);
      return { lossSum, tokens: countedTokens(batch.targets) };
    });
  }

  lossAndGradient(pass: BackwardPass, batch: Batch): BatchLoss {
    const sizes = batchShape(this.shape, batch.tokens, batch.sequences);
    checkTargets(this.shape, batch);
    const { arena } = kernels();
    return arena.scope(() => {
      const { N } = sizes;
      const { width: C } = this.shape;
      const { tokenEmbedding, head } = this.#layers;
      const { gradient } = pass;
      const counted = countedTokens(batch.targets);
      const tokens = arena.copyIn(batch.tokens);
      const targets = arena.copyIn(batch.targets);
      // Tied, the head begins the token embedding's gradient, and the model's input ends it.
      const isTied = head === tokenEmbedding;
      const dTied = isTied ? gradient.open(tokenEmbedding) : undefined;
      const dResidual = arena.allocZeroedF32(N * C);
      const activations = this.#alloc(sizes, pass.keeps);

      this.#forward(activations, tokens, sizes, pass);
      const lossSum = this.#headLoss(
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
          sizes,
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
    const sizes = batchShape(this.shape, tokens, sequences);
    const { N } = sizes;
    const { vocabulary: V } = this.shape;
    const { arena } = kernels();
    return arena.scope(() => {
      const activations = this.#alloc(sizes, "nothing");
      this.#forward(activations, arena.copyIn(tokens), sizes, pass);
      const all = new Float32Array(N * V);
      const head = this.#head(pass);
      forEachTile(activations.hidden, N, head, (logits, row, rows) =>
        all.set(arena.f32(logits, rows * V), row * V),
      );
      return all;
    });
  }

  #alloc(
    sizes: BatchShape,
    keeps: KeptActivations | "nothing",
  ): Activations<Inside, Final> {
    const room = this.#layers.room(sizes);
    return allocActivations(room, this.shape, sizes, keeps);
  }

  /** From tokens i32 [B, T] to the head's input. */
  #forward(
    { blocks, final, hidden }: Activations<Inside, Final>,
    tokens: Pointer,
    sizes: BatchShape,
    pass: Pass,
  ): void {
    const { B, T } = sizes;
    const { width: C } = this.shape;
    const layers = this.#layers;
    const { tokenEmbedding, positionEmbedding } = layers;
    const { parameters } = pass;
    kernels().arena.scope(() =>
      embeddingForward(
        blocks[0]!.input,
        tokens,
        parameters.read(tokenEmbedding),
        positionEmbedding && parameters.read(positionEmbedding),
        { sequences: B, length: T, width: C },
      ),
    );
    for (const [layer, block] of blocks.entries())
      layers.blockForward(block, layer, sizes, pass);
    layers.finalForward(hidden, final, blocks.at(-1)!.output, sizes, pass);
  }

  /**
   * The head, the loss, and their backward passes down to the blocks' output: overwrites `dResidual`
   * f32 [N, C], and adds to the head's gradient, which is `dTied` or its own.
   */
  #headLoss(
    dResidual: Pointer,
    dTied: Pointer | undefined,
    { blocks, hidden, final }: Activations<Inside, Final>,
    { targets, counted }: { targets: Pointer; counted: number },
    sizes: BatchShape,
    pass: BackwardPass,
  ): number {
    const { N } = sizes;
    const { arena } = kernels();
    return arena.scope(() => {
      const dHidden = hidden; // Nobody reads it any more then.
      const scale = counted > 0 ? 1 / counted : 0;
      const loss = (dWeight: Pointer): number => {
        const gradients = { dHidden, dWeight, scale };
        return headLoss(hidden, targets, N, this.#head(pass), gradients);
      };
      const lossSum =
        dTied !== undefined
          ? loss(dTied)
          : withGradients(pass.gradient, [this.#layers.head], ([dHead]) =>
              loss(dHead!),
            );
      const { output } = blocks.at(-1)!;
      this.#layers.finalBackward(
        dResidual,
        dHidden,
        final,
        output,
        sizes,
        pass,
      );
      return lossSum;
    });
  }

  #blocksBackward(
    dResidual: Pointer,
    { blocks }: Activations<Inside, Final>,
    sizes: BatchShape,
    pass: BackwardPass,
  ): void {
    const layers = this.#layers;
    const last = blocks.length - 1;
    for (let layer = last; layer >= 0; layer--) {
      const block = blocks[layer]!;
      // All of the last block is still there: no other has come after it.
      if (layer < last) layers.recompute[pass.keeps](block, layer, sizes, pass);
      layers.blockBackward(dResidual, block, layer, sizes, pass);
    }
  }

  #embeddingBackward(
    dTokenEmbedding: Pointer,
    dResidual: Pointer,
    tokens: Pointer,
    { B, T }: BatchShape,
    { gradient }: BackwardPass,
  ): void {
    const { positionEmbedding } = this.#layers;
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

  /** In the caller's scope. */
  #head({ parameters, recipe }: Pass): Head {
    const { width, vocabulary } = this.shape;
    const weight = parameters.read(this.#layers.head);
    return { weight, vocabulary, width, recipe };
  }
}

function countedTokens(targets: Int32Array): number {
  return targets.reduce(
    (count, target) => count + Number(target !== IGNORED_TARGET),
    0,
  );
}
