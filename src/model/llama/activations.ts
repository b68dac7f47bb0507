/** What a block's forward pass leaves for its backward pass. */
import type { LlamaShape } from "../../api/run-config.ts";
import type { Pointer } from "../../kernels/arena.ts";
import type { Angles } from "../../kernels/attention.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { Ends, Room } from "../activations.ts";
import type { LayerPlace, Sizes } from "../layers.ts";
import type { ParameterTensor } from "../parameters.ts";
import { widths } from "./config.ts";
import type { BlockTensors } from "./parameters.ts";
import { frequencies, rotaryAngles } from "./rotary-angles.ts";

/** What products take, and elementwise work makes of what is kept. */
export type BlockBetween = {
  norm1: Pointer; // [N, C]
  norm2: Pointer; // [N, C]
  gated: Pointer; // [N, hidden]
};

export type BlockInside = BlockBetween & {
  /** Of a sequence's positions, the same for all blocks. */
  angles: Angles;
  rstd1: Pointer; // [N]
  qkv: Pointer; // [N, (NH + 2 · groups) · D], turned; where heads are normed, as the product gave it
  /** Where heads are normed: the same, normed and turned, and what their norms keep. */
  headNorms: { qkv: Pointer; rstd: Pointer } | undefined;
  logSumExp: Pointer; // [B, NH, T]
  attention: Pointer; // [N, NH · D], heads side by side
  middle: Pointer; // [N, C], the residual stream after attention
  rstd2: Pointer; // [N]
  gateUp: Pointer; // [N, 2 · hidden]
};

export type BlockActivations = BlockInside & Ends;

export type LlamaParts = {
  shape: LlamaShape;
  block: BlockTensors;
  norm: ParameterTensor;
  between: BlockBetween;
  inside: BlockInside;
  /** Of a norm's rows, their rstd. */
  moments: Pointer; // [N]
};
export type BlockPlace = LayerPlace<LlamaParts>;

export function blockRoom({
  shape,
  batch: { B, T, N },
}: Sizes<LlamaParts>): Room<BlockBetween, BlockInside, Pointer> {
  const { width: C, heads: NH, groups, hidden, headWidth } = shape;
  const { queries, qkv, gateUp } = widths(shape);
  const { arena } = kernels();
  const angles = rotaryAngles(frequencies(shape.ropeBase, headWidth / 2), 0, T);
  return {
    between: () => ({
      norm1: arena.allocF32(N * C),
      norm2: arena.allocF32(N * C),
      gated: arena.allocF32(N * hidden),
    }),
    inside: (between) => ({
      ...between,
      angles,
      rstd1: arena.allocF32(N),
      qkv: arena.allocF32(N * qkv),
      headNorms: shape.headNorm
        ? {
            qkv: arena.allocF32(N * qkv),
            rstd: arena.allocF32(N * (NH + groups)),
          }
        : undefined,
      logSumExp: arena.allocF32(B * NH * T),
      attention: arena.allocF32(N * queries),
      middle: arena.allocF32(N * C),
      rstd2: arena.allocF32(N),
      gateUp: arena.allocF32(N * gateUp),
    }),
    final: () => arena.allocF32(N),
  };
}
