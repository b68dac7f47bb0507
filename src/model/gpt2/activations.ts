/** What the forward pass leaves for the backward pass. */
import type { ModelShape } from "../../api/types.ts";
import type { Pointer } from "../../kernels/arena.ts";
import type { RowMoments } from "../../kernels/layers.ts";
import { kernels } from "../../kernels/runtime.ts";

/** Sizes of one batch: N = B · T tokens. */
export type BatchShape = { B: number; T: number; N: number };

export type BlockActivations = {
  input: Pointer; // [N, C], the residual stream
  moments1: RowMoments; // [N], [N]
  norm1: Pointer; // [N, C]
  qkv: Pointer; // [N, 3C]
  logSumExp: Pointer; // [B, NH, T]
  attention: Pointer; // [N, C], heads side by side
  middle: Pointer; // [N, C], the residual stream after attention
  moments2: RowMoments; // [N], [N]
  norm2: Pointer; // [N, C]
  up: Pointer; // [N, 4C]
  gelu: Pointer; // [N, 4C]
  output: Pointer; // [N, C], the next block's input
};

export type Activations = {
  blocks: BlockActivations[];
  finalMoments: RowMoments; // [N], [N]
  hidden: Pointer; // [N, C], the head's input
};

/**
 * Room for one forward pass, in the caller's scope. With `kept` every block has its own, as a
 * backward pass needs; otherwise the blocks take turns, and the residual stream is updated in place.
 */
export function allocActivations(
  shape: ModelShape,
  { B, T, N }: BatchShape,
  kept: boolean,
): Activations {
  const { layers, width: C, heads: NH } = shape;
  const { arena } = kernels();
  const allocMoments = (): RowMoments => ({
    mean: arena.allocF32(N),
    rstd: arena.allocF32(N),
  });
  const allocBlock = (input: Pointer): BlockActivations => ({
    input,
    moments1: allocMoments(),
    norm1: arena.allocF32(N * C),
    qkv: arena.allocF32(N * 3 * C),
    logSumExp: arena.allocF32(B * NH * T),
    attention: arena.allocF32(N * C),
    middle: arena.allocF32(N * C),
    moments2: allocMoments(),
    norm2: arena.allocF32(N * C),
    up: arena.allocF32(N * 4 * C),
    gelu: arena.allocF32(N * 4 * C),
    output: kept ? arena.allocF32(N * C) : input,
  });

  const blocks = [allocBlock(arena.allocF32(N * C))];
  while (blocks.length < layers) {
    const last = blocks[blocks.length - 1];
    blocks.push(kept ? allocBlock(last.output) : last);
  }
  return {
    blocks,
    finalMoments: allocMoments(),
    hidden: arena.allocF32(N * C),
  };
}
