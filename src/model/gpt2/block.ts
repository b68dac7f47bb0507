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
  type RowMoments,
} from "../../kernels/norms.ts";
import { kernels } from "../../kernels/runtime.ts";
import { add } from "../../kernels/vector.ts";
import {
  backwardLinear,
  type BlockLinear,
  forwardLinear,
} from "../block-linear.ts";
import { withGradients } from "../flat-vector.ts";
import type { Layers, Sizes } from "../layers.ts";
import type { BackwardPass, Pass } from "../model.ts";
import {
  type BlockActivations,
  type BlockPlace,
  blockRoom,
  type Gpt2Parts,
} from "./activations.ts";
import { widths } from "./config.ts";
import type { BlockTensors, TensorPair } from "./parameters.ts";

export const GPT2_LAYERS: Layers<Gpt2Parts> = {
  room: blockRoom,
  block: {
    forward: blockForward,
    inside: blockInside,
    between: blockBetween,
    backward: blockBackward,
  },
  norm: { forward: normForward, backward: normBackward },
};

function blockForward(
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

function blockInside(
  activations: BlockActivations,
  tensors: BlockTensors,
  place: BlockPlace,
  pass: Pass,
): void {
  const { shape, batch } = place;
  const { B, T, N } = batch;
  const { width: C } = shape;
  const a = activations;
  const forward = (name: LinearName, output: Pointer, input: Pointer): void =>
    forwardLinear(output, input, linearOf(name, tensors, place), N, pass);

  normForward(a.norm1, a.moments1, a.input, tensors.norm1, place, pass);
  forward("qkv", a.qkv, a.norm1);
  const sequences = { sequences: B, length: T };
  attentionForward(a.attention, a.logSumExp, a.qkv, sequences, headsOf(shape));
  forward("attentionOut", a.middle, a.attention);
  add(a.middle, a.middle, a.input, N * C);

  normForward(a.norm2, a.moments2, a.middle, tensors.norm2, place, pass);
  forward("up", a.up, a.norm2);
  geluForward(a.gelu, a.up, N * widths(shape).hidden);
}

function blockBetween(
  activations: BlockActivations,
  tensors: BlockTensors,
  place: BlockPlace,
  pass: Pass,
): void {
  const a = activations;
  const { shape, batch } = place;
  normForward(a.norm1, a.moments1, a.input, tensors.norm1, place, pass);
  normForward(a.norm2, a.moments2, a.middle, tensors.norm2, place, pass);
  geluForward(a.gelu, a.up, batch.N * widths(shape).hidden);
}

function blockBackward(
  dResidual: Pointer,
  activations: BlockActivations,
  tensors: BlockTensors,
  place: BlockPlace,
  pass: BackwardPass,
): void {
  const { shape, batch } = place;
  const { B, T, N } = batch;
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
    place,
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
    place,
    pass,
  );
}

function normForward(
  out: Pointer,
  moments: RowMoments,
  x: Pointer,
  { weight, bias }: TensorPair,
  { shape, batch }: Sizes<Gpt2Parts>,
  { parameters }: Pass,
): void {
  kernels().arena.scope(() =>
    layerNormForward(
      out,
      moments,
      x,
      { weight: parameters.read(weight), bias: parameters.read(bias) },
      batch.N,
      shape.width,
    ),
  );
}

function normBackward(
  dX: Pointer,
  dOut: Pointer,
  x: Pointer,
  moments: RowMoments,
  { weight, bias }: TensorPair,
  { shape, batch }: Sizes<Gpt2Parts>,
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
      batch.N,
      shape.width,
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
