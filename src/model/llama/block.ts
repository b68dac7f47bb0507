/**
 * One block of a Llama:
 *
 *   middle = input + attentionOut(attention(rotary(q), rotary(k), v)),  q, k, v = qkv(norm1(input))
 *   output = middle + down(silu(gate) · up),                            gate, up = gateUp(norm2(middle))
 *
 * With `headNorm`, queries and keys are normed head by head before they turn.
 */
import type { Pointer } from "../../kernels/arena.ts";
import {
  attentionBackward,
  attentionForward,
  rotaryBackward,
  rotaryForward,
} from "../../kernels/attention.ts";
import { swigluBackward, swigluForward } from "../../kernels/elementwise.ts";
import { rmsNormBackward, rmsNormForward } from "../../kernels/norms.ts";
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
import type { ParameterTensor } from "../parameters.ts";
import {
  type BlockActivations,
  type BlockPlace,
  blockRoom,
  type LlamaParts,
} from "./activations.ts";
import { widths } from "./config.ts";
import { headsBackward, headsForward } from "./head-norms.ts";
import type { BlockTensors } from "./parameters.ts";

export const LLAMA_LAYERS: Layers<LlamaParts> = {
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
  forwardLinear(a.output, a.gated, linearOf("down", tensors, place), N, pass);
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
  const { width: C, hidden } = shape;
  const a = activations;
  const forward = (name: LinearName, output: Pointer, input: Pointer): void =>
    forwardLinear(output, input, linearOf(name, tensors, place), N, pass);

  normForward(a.norm1, a.rstd1, a.input, tensors.norm1, place, pass);
  forward("qkv", a.qkv, a.norm1);
  headsForward(a, tensors, place, pass);
  const { heads, groups, headWidth } = shape;
  const turned = a.headNorms?.qkv ?? a.qkv;
  const sequences = { sequences: B, length: T };
  const cut = { heads, groups, headWidth };
  rotaryForward(
    turned,
    a.angles,
    sequences,
    heads + groups,
    headWidth,
    widths(shape).qkv,
  );
  attentionForward(a.attention, a.logSumExp, turned, sequences, cut);
  forward("attentionOut", a.middle, a.attention);
  add(a.middle, a.middle, a.input, N * C);

  normForward(a.norm2, a.rstd2, a.middle, tensors.norm2, place, pass);
  forward("gateUp", a.gateUp, a.norm2);
  gateForward(a, N, hidden);
}

function blockBetween(
  activations: BlockActivations,
  tensors: BlockTensors,
  place: BlockPlace,
  pass: Pass,
): void {
  const a = activations;
  normForward(a.norm1, a.rstd1, a.input, tensors.norm1, place, pass);
  normForward(a.norm2, a.rstd2, a.middle, tensors.norm2, place, pass);
  gateForward(a, place.batch.N, place.shape.hidden);
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
  const { heads, groups, headWidth, hidden } = shape;
  const a = activations;
  const { arena } = kernels();
  const backward = (
    name: LinearName,
    dInput: Pointer,
    dOutput: Pointer,
    input: Pointer,
  ): void => {
    const linear = linearOf(name, tensors, place);
    backwardLinear(dInput, dOutput, input, linear, N, pass);
  };

  backward("down", a.gated, dResidual, a.gated);
  const [gate, up] = [a.gateUp, a.gateUp + 4 * hidden];
  swigluBackward(gate, up, a.gated, gate, up, N, hidden, 2 * hidden);
  backward("gateUp", a.norm2, a.gateUp, a.norm2);
  normBackward(
    dResidual,
    a.norm2,
    a.middle,
    a.rstd2,
    tensors.norm2,
    place,
    pass,
  );

  backward("attentionOut", a.attention, dResidual, a.attention);
  arena.scope(() => {
    const wide = widths(shape).qkv;
    const dQkv = arena.allocF32(N * wide);
    const turned = a.headNorms?.qkv ?? a.qkv;
    const sequences = { sequences: B, length: T };
    const cut = { heads, groups, headWidth };
    attentionBackward(dQkv, a.attention, turned, a.logSumExp, sequences, cut);
    rotaryBackward(dQkv, a.angles, sequences, heads + groups, headWidth, wide);
    headsBackward(dQkv, a, tensors, place, pass);
    backward("qkv", a.norm1, dQkv, a.norm1);
  });
  normBackward(
    dResidual,
    a.norm1,
    a.input,
    a.rstd1,
    tensors.norm1,
    place,
    pass,
  );
}

function normForward(
  out: Pointer,
  rstd: Pointer,
  x: Pointer,
  weight: ParameterTensor,
  { shape, batch }: Sizes<LlamaParts>,
  { parameters }: Pass,
): void {
  kernels().arena.scope(() =>
    rmsNormForward(
      out,
      rstd,
      x,
      parameters.read(weight),
      batch.N,
      shape.width,
      shape.epsilon,
    ),
  );
}

function normBackward(
  dX: Pointer,
  dOut: Pointer,
  x: Pointer,
  rstd: Pointer,
  weight: ParameterTensor,
  { shape, batch }: Sizes<LlamaParts>,
  { gradient, parameters }: BackwardPass,
): void {
  withGradients(gradient, [weight], ([dWeight]) =>
    rmsNormBackward(
      dX,
      dWeight!,
      dOut,
      x,
      rstd,
      parameters.read(weight),
      batch.N,
      shape.width,
    ),
  );
}

function gateForward(
  { gated, gateUp }: BlockActivations,
  N: number,
  hidden: number,
): void {
  swigluForward(gated, gateUp, gateUp + 4 * hidden, N, hidden, 2 * hidden);
}

type LinearName = "qkv" | "attentionOut" | "gateUp" | "down";

/** Their indices are coordinates of noise and do not change. */
const LINEARS: Record<LinearName, { index: number; name: string }> = {
  qkv: { index: 0, name: "QKV" },
  attentionOut: { index: 1, name: "attention out" },
  gateUp: { index: 2, name: "MLP gate and up" },
  down: { index: 3, name: "MLP down" },
};

function linearOf(
  name: LinearName,
  tensors: BlockTensors,
  { layer }: BlockPlace,
): BlockLinear {
  return { weight: tensors[name], ...LINEARS[name], layer };
}
