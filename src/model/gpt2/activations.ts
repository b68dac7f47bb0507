/** What a block's forward pass leaves for its backward pass. */
import type { Gpt2Shape } from "../../api/run-config.ts";
import type { Pointer } from "../../kernels/arena.ts";
import type { RowMoments } from "../../kernels/norms.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { Ends, Room } from "../activations.ts";
import type { LayerPlace, Sizes } from "../layers.ts";
import { widths } from "./config.ts";
import type { BlockTensors, TensorPair } from "./parameters.ts";

/** What products take, and elementwise work makes of what is kept. */
export type BlockBetween = {
  norm1: Pointer; // [N, C]
  norm2: Pointer; // [N, C]
  gelu: Pointer; // [N, 4C]
};

export type BlockInside = BlockBetween & {
  moments1: RowMoments; // [N], [N]
  qkv: Pointer; // [N, 3C]
  logSumExp: Pointer; // [B, NH, T]
  attention: Pointer; // [N, C], heads side by side
  middle: Pointer; // [N, C], the residual stream after attention
  moments2: RowMoments; // [N], [N]
  up: Pointer; // [N, 4C]
};

export type BlockActivations = BlockInside & Ends;

export type Gpt2Parts = {
  shape: Gpt2Shape;
  block: BlockTensors;
  norm: TensorPair;
  between: BlockBetween;
  inside: BlockInside;
  moments: RowMoments;
};
export type BlockPlace = LayerPlace<Gpt2Parts>;

export function blockRoom({
  shape,
  batch: { B, T, N },
}: Sizes<Gpt2Parts>): Room<BlockBetween, BlockInside, RowMoments> {
  const { width: C, heads: NH } = shape;
  const { qkv, hidden } = widths(shape);
  const { arena } = kernels();
  const moments = (): RowMoments => ({
    mean: arena.allocF32(N),
    rstd: arena.allocF32(N),
  });
  return {
    between: () => ({
      norm1: arena.allocF32(N * C),
      norm2: arena.allocF32(N * C),
      gelu: arena.allocF32(N * hidden),
    }),
    inside: (between) => ({
      ...between,
      moments1: moments(),
      qkv: arena.allocF32(N * qkv),
      logSumExp: arena.allocF32(B * NH * T),
      attention: arena.allocF32(N * C),
      middle: arena.allocF32(N * C),
      moments2: moments(),
      up: arena.allocF32(N * hidden),
    }),
    final: moments,
  };
}
