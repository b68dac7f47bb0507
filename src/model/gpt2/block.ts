/**
 * One transformer block, pre-LN:
 *
 *   middle = input + attentionOut(attention(qkv(norm1(input))))
 *   output = middle + down(gelu(up(norm2(middle))))
 */
import type { Recipe } from "../../api/recipe.ts";
import type { ModelShape } from "../../api/types.ts";
import type { Pointer } from "../../kernels/arena.ts";
import {
  attentionBackward,
  attentionForward,
  geluBackward,
  geluForward,
  layerNormBackward,
  layerNormForward,
} from "../../kernels/layers.ts";
import { kernels } from "../../kernels/runtime.ts";
import { add } from "../../kernels/vector.ts";
import type { BatchShape, BlockActivations } from "./activations.ts";
import {
  linearBackward,
  linearForward,
  type Linear,
  type NoiseCoordinates,
} from "../linear.ts";
import type { PackedWeights } from "../packed-weights.ts";
import type { BlockPointers } from "./pointers.ts";

/** What both passes of one block need to know. */
export type BlockContext = {
  shape: ModelShape;
  batch: BatchShape;
  layer: number;
  recipe: Recipe;
  packedWeights: PackedWeights;
};

export function blockForward(
  activations: BlockActivations,
  parameters: BlockPointers,
  context: BlockContext,
): void {
  const { shape, batch, recipe, packedWeights } = context;
  const { B, T, N } = batch;
  const { width: C, heads } = shape;
  const linears = linearsOf(parameters, context);
  const a = activations;
  const forward = (name: LinearName, output: Pointer, input: Pointer): void =>
    linearForward(output, input, linears[name], N, recipe, packedWeights);

  layerNormForward(a.norm1, a.moments1, a.input, parameters.norm1, N, C);
  forward("qkv", a.qkv, a.norm1);
  const sequences = { sequences: B, length: T, width: C };
  attentionForward(a.attention, a.logSumExp, a.qkv, sequences, heads);
  forward("attentionOut", a.middle, a.attention);
  add(a.middle, a.middle, a.input, N * C);

  layerNormForward(a.norm2, a.moments2, a.middle, parameters.norm2, N, C);
  forward("up", a.up, a.norm2);
  geluForward(a.gelu, a.up, N * 4 * C);
  forward("down", a.output, a.gelu);
  add(a.output, a.output, a.middle, N * C);
}

/** `dResidual` f32 [N, C]: the gradient of the block's output becomes that of its input. */
export function blockBackward(
  dResidual: Pointer,
  gradient: BlockPointers,
  activations: BlockActivations,
  parameters: BlockPointers,
  context: BlockContext,
  noise: NoiseCoordinates,
): void {
  const { shape, batch, recipe, packedWeights } = context;
  const { B, T, N } = batch;
  const { width: C, heads } = shape;
  const linears = linearsOf(parameters, context);
  const a = activations;
  const { arena } = kernels();

  const backward = (
    name: LinearName,
    dInput: Pointer,
    dOutput: Pointer,
    input: Pointer,
  ): void => {
    const { weight: dWeight, bias: dBias } = gradient[name];
    const gradients = { dInput, dWeight, dBias };
    linearBackward(
      gradients,
      dOutput,
      input,
      linears[name],
      N,
      recipe,
      noise,
      packedWeights,
    );
  };

  arena.scope(() => {
    const dBranch = arena.allocF32(N * C); // of norm1, attention, norm2 in turn
    const dWide = arena.allocF32(N * 4 * C); // of gelu and up, then of qkv

    backward("down", dWide, dResidual, a.gelu);
    geluBackward(dWide, dWide, a.up, N * 4 * C);
    backward("up", dBranch, dWide, a.norm2);
    layerNormBackward(
      dResidual,
      gradient.norm2,
      dBranch,
      a.middle,
      a.moments2,
      parameters.norm2.weight,
      N,
      C,
    );

    backward("attentionOut", dBranch, dResidual, a.attention);
    const sequences = { sequences: B, length: T, width: C };
    attentionBackward(dWide, dBranch, a.qkv, a.logSumExp, sequences, heads);
    backward("qkv", dBranch, dWide, a.norm1);
    layerNormBackward(
      dResidual,
      gradient.norm1,
      dBranch,
      a.input,
      a.moments1,
      parameters.norm1.weight,
      N,
      C,
    );
  });
}

type LinearName = "qkv" | "attentionOut" | "up" | "down";

/** The block's linear layers; their indices are coordinates of noise and do not change. */
function linearsOf(
  parameters: BlockPointers,
  { shape, layer }: BlockContext,
): Record<LinearName, Linear> {
  const { width: C } = shape;
  const { qkv, attentionOut, up, down } = parameters;
  return {
    qkv: { ...qkv, inFeatures: C, outFeatures: 3 * C, layer, index: 0 },
    attentionOut: {
      ...attentionOut,
      inFeatures: C,
      outFeatures: C,
      layer,
      index: 1,
    },
    up: { ...up, inFeatures: C, outFeatures: 4 * C, layer, index: 2 },
    down: { ...down, inFeatures: 4 * C, outFeatures: C, layer, index: 3 },
  };
}
