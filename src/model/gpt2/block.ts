/**
 * One transformer block, pre-LN:
 *
 *   middle = input + attentionOut(attention(qkv(norm1(input))))
 *   output = middle + down(gelu(up(norm2(middle))))
 */
import type { ModelSizes } from "../../api/run-config.ts";
import type { Pointer } from "../../kernels/arena.ts";
import {
  attentionBackward,
  attentionForward,
  type Heads,
} from "../../kernels/attention.ts";
import { geluBackward, geluForward } from "../../kernels/elementwise.ts";
import {
  layerNormBackward,
  layerNormForward,
  type LayerNormParameters,
  type RowMoments,
} from "../../kernels/norms.ts";
import { kernels } from "../../kernels/runtime.ts";
import { add } from "../../kernels/vector.ts";
import type { BatchShape, Ends, Room } from "../activations.ts";
import {
  backwardLinear,
  type BlockLinear,
  forwardLinear,
} from "../block-linear.ts";
import { type ParameterSource, withGradients } from "../flat-vector.ts";
import type { BackwardPass, Pass } from "../model.ts";
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

type BlockActivations = BlockInside & Ends;

/** Which block, of which model, on how many tokens. */
export type BlockPlace = {
  shape: ModelSizes;
  batch: BatchShape;
  layer: number;
};

export function blockRoom(
  shape: ModelSizes,
  { B, T, N }: BatchShape,
): Room<BlockBetween, BlockInside, RowMoments> {
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

export function blockForward(
  activations: BlockActivations,
  tensors: BlockTensors,
  place: BlockPlace,
  pass: Pass,
): void {
  const a = activations;
  const { N } = place.batch;
  blockInside(a, tensors, place, pass);
  forwardLinear(a.output, a.gelu, linearOf("down", tensors, place), N, pass);
  add(a.output, a.output, a.middle, N * place.shape.width);
}

/** Everything between the block's input and its last linear layer: what its backward pass reads. */
export function blockInside(
  activations: BlockActivations,
  tensors: BlockTensors,
  place: BlockPlace,
  pass: Pass,
): void {
  const { shape, batch } = place;
  const { B, T, N } = batch;
  const { width: C } = shape;
  const a = activations;
  const { arena } = kernels();
  const forward = (name: LinearName, output: Pointer, input: Pointer): void =>
    forwardLinear(output, input, linearOf(name, tensors, place), N, pass);

  arena.scope(() => {
    const norm1 = readPair(pass.parameters, tensors.norm1);
    layerNormForward(a.norm1, a.moments1, a.input, norm1, N, C);
    forward("qkv", a.qkv, a.norm1);
    const sequences = { sequences: B, length: T };
    attentionForward(
      a.attention,
      a.logSumExp,
      a.qkv,
      sequences,
      headsOf(shape),
    );
    forward("attentionOut", a.middle, a.attention);
    add(a.middle, a.middle, a.input, N * C);

    const norm2 = readPair(pass.parameters, tensors.norm2);
    layerNormForward(a.norm2, a.moments2, a.middle, norm2, N, C);
    forward("up", a.up, a.norm2);
    geluForward(a.gelu, a.up, N * widths(shape).hidden);
  });
}

/** What lies between the block's products, of those. */
export function blockBetween(
  activations: BlockActivations,
  tensors: BlockTensors,
  place: BlockPlace,
  pass: Pass,
): void {
  const { shape, batch } = place;
  const { N } = batch;
  const { width: C } = shape;
  const a = activations;
  kernels().arena.scope(() => {
    const norm1 = readPair(pass.parameters, tensors.norm1);
    layerNormForward(a.norm1, a.moments1, a.input, norm1, N, C);
    const norm2 = readPair(pass.parameters, tensors.norm2);
    layerNormForward(a.norm2, a.moments2, a.middle, norm2, N, C);
    geluForward(a.gelu, a.up, N * widths(shape).hidden);
  });
}

/**
 * `dResidual` f32 [N, C]: the gradient of the block's output becomes that of its input. The gradient of what a linear
 * layer read takes its place, so the block's activations are gone afterwards.
 */
export function blockBackward(
  dResidual: Pointer,
  activations: BlockActivations,
  tensors: BlockTensors,
  place: BlockPlace,
  pass: BackwardPass,
): void {
  const { shape, batch } = place;
  const { B, T, N } = batch;
  const { width: C } = shape;
  const { hidden } = widths(shape);
  const a = activations;
  const backward = (
    name: LinearName,
    dInput: Pointer,
    dOutput: Pointer,
    input: Pointer,
  ): void => {
    const linear = linearOf(name, tensors, place);
    backwardLinear(dInput, dOutput, input, linear, N, pass);
  };

  const dHidden = a.gelu; // of gelu, then of up
  backward("down", dHidden, dResidual, a.gelu);
  geluBackward(dHidden, dHidden, a.up, N * hidden);
  backward("up", a.norm2, dHidden, a.norm2);
  normBackward(
    dResidual,
    a.norm2,
    a.middle,
    a.moments2,
    tensors.norm2,
    N,
    C,
    pass,
  );

  backward("attentionOut", a.attention, dResidual, a.attention);
  const sequences = { sequences: B, length: T };
  const dQkv = dHidden; // [N, 3C] in the room of [N, 4C]
  attentionBackward(
    dQkv,
    a.attention,
    a.qkv,
    a.logSumExp,
    sequences,
    headsOf(shape),
  );
  backward("qkv", a.norm1, dQkv, a.norm1);
  normBackward(
    dResidual,
    a.norm1,
    a.input,
    a.moments1,
    tensors.norm1,
    N,
    C,
    pass,
  );
}

/** Weight and bias, in the caller's scope. */
export function readPair(
  parameters: ParameterSource,
  { weight, bias }: TensorPair,
): LayerNormParameters {
  return { weight: parameters.read(weight), bias: parameters.read(bias) };
}

/** Adds to `dX`. dX, dOut, x f32 [N, C]. */
export function normBackward(
  dX: Pointer,
  dOut: Pointer,
  x: Pointer,
  moments: RowMoments,
  { weight, bias }: TensorPair,
  N: number,
  C: number,
  { gradient, parameters }: BackwardPass,
): void {
  withGradients(gradient, [weight, bias], ([dWeight, dBias]) =>
    layerNormBackward(
      dX,
      { weight: dWeight!, bias: dBias! },
      dOut,
      x,
      moments,
      parameters.read(weight),
      N,
      C,
    ),
  );
}

type LinearName = "qkv" | "attentionOut" | "up" | "down";

/** Their indices are coordinates of noise and do not change. */
const LINEARS: Record<LinearName, { index: number; name: string }> = {
  qkv: { index: 0, name: "QKV" },
  attentionOut: { index: 1, name: "attention out" },
  up: { index: 2, name: "MLP up" },
  down: { index: 3, name: "MLP down" },
};

function linearOf(
  name: LinearName,
  tensors: BlockTensors,
  { layer }: BlockPlace,
): BlockLinear {
  return { ...tensors[name], ...LINEARS[name], layer };
}

function headsOf({ width, heads }: ModelSizes): Heads {
  return { heads, groups: heads, headWidth: width / heads };
}
