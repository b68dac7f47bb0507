/** What the forward pass leaves for the backward pass. */
import type { ModelShape } from "../../api/types.ts";
import type { Pointer } from "../../kernels/arena.ts";
import type { RowMoments } from "../../kernels/layers.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { KeptActivations } from "../model.ts";
import { widths } from "./config.ts";

/** Sizes of one batch: N = B · T tokens. */
export type BatchShape = { B: number; T: number; N: number };

/** What products take, and elementwise work makes of what is kept. */
type BlockBetween = {
  norm1: Pointer; // [N, C]
  norm2: Pointer; // [N, C]
  gelu: Pointer; // [N, 4C]
};

/** All but its input and output, which neighbours share. */
type BlockInside = BlockBetween & {
  moments1: RowMoments; // [N], [N]
  qkv: Pointer; // [N, 3C]
  logSumExp: Pointer; // [B, NH, T]
  attention: Pointer; // [N, C], heads side by side
  middle: Pointer; // [N, C], the residual stream after attention
  moments2: RowMoments; // [N], [N]
  up: Pointer; // [N, 4C]
};

export type BlockActivations = BlockInside & {
  input: Pointer; // [N, C], the residual stream
  output: Pointer; // [N, C], the next block's input
};

export type Activations = {
  blocks: BlockActivations[];
  finalMoments: RowMoments; // [N], [N]
  hidden: Pointer; // [N, C], the head's input
};

/**
 * Room for one forward pass, in the caller's scope. What is not kept is taken in turns: by what lies between the
 * products when they are kept, by the whole insides of the blocks when only their inputs are, and by the
 * residual stream too, in place, when nothing is.
 */
export function allocActivations(
  shape: ModelShape,
  { B, T, N }: BatchShape,
  keeps: KeptActivations | "nothing",
): Activations {
  const { layers, width: C, heads: NH } = shape;
  const { qkv, hidden } = widths(shape);
  const { arena } = kernels();
  const allocMoments = (): RowMoments => ({
    mean: arena.allocF32(N),
    rstd: arena.allocF32(N),
  });
  const allocBetween = (): BlockBetween => ({
    norm1: arena.allocF32(N * C),
    norm2: arena.allocF32(N * C),
    gelu: arena.allocF32(N * hidden),
  });
  let between = allocBetween();
  const allocInside = (): BlockInside => ({
    ...between,
    moments1: allocMoments(),
    qkv: arena.allocF32(N * qkv),
    logSumExp: arena.allocF32(B * NH * T),
    attention: arena.allocF32(N * C),
    middle: arena.allocF32(N * C),
    moments2: allocMoments(),
    up: arena.allocF32(N * hidden),
  });

  const blocks: BlockActivations[] = [];
  let input = arena.allocF32(N * C);
  let inside = allocInside();
  for (let layer = 0; layer < layers; layer++) {
    if (keeps === "all" && layer > 0) between = allocBetween();
    if ((keeps === "all" || keeps === "products") && layer > 0) {
      inside = allocInside();
    }
    const output = keeps === "nothing" ? input : arena.allocF32(N * C);
    blocks.push({ ...inside, input, output });
    input = output;
  }
  return {
    blocks,
    finalMoments: allocMoments(),
    hidden: arena.allocF32(N * C),
  };
}
