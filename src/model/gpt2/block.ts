/**
 * One transformer block, pre-LN:
 *
 *   middle = input + attentionOut(attention(qkv(norm1(input))))
 *   output = middle + down(gelu(up(norm2(middle))))
 */
import type { ModelShape } from "../../api/types.ts";
import type { Pointer } from "../../kernels/arena.ts";
import {
  attentionBackward,
  attentionForward,
  geluBackward,
  geluForward,
  layerNormBackward,
  layerNormForward,
  type LayerNormParameters,
} from "../../kernels/layers.ts";
import { kernels } from "../../kernels/runtime.ts";
import { add } from "../../kernels/vector.ts";
import type { ParameterSource } from "../flat-vector.ts";
import { type Linear, linearBackward, linearForward } from "../linear.ts";
import type { BackwardPass, Pass } from "../model.ts";
import type { BatchShape, BlockActivations } from "./activations.ts";
import { widths } from "./config.ts";
import type { BlockTensors, TensorPair } from "./parameters.ts";

/** Which block, of which model, on how many tokens. */
export type BlockPlace = {
  shape: ModelShape;
  batch: BatchShape;
  layer: number;
};

export function blockForward(
  activations: BlockActivations,
  tensors: BlockTensors,
  place: BlockPlace,
  pass: Pass,
): void {
  const a = activations;
  const { N } = place.batch;
  blockInside(a, tensors, place, pass);
  forwardLinear("down", a.output, a.gelu, tensors, place, pass);
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
  const { width: C, heads } = shape;
  const a = activations;
  const { arena } = kernels();
  const forward = (name: LinearName, output: Pointer, input: Pointer): void =>
    forwardLinear(name, output, input, tensors, place, pass);

  arena.scope(() => {
    const norm1 = readPair(pass.parameters, tensors.norm1);
    layerNormForward(a.norm1, a.moments1, a.input, norm1, N, C);
    forward("qkv", a.qkv, a.norm1);
    const sequences = { sequences: B, length: T, width: C };
    attentionForward(a.attention, a.logSumExp, a.qkv, sequences, heads);
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
  const { width: C, heads } = shape;
  const { hidden } = widths(shape);
  const a = activations;
  const backward = (
    name: LinearName,
    dInput: Pointer,
    dOutput: Pointer,
    input: Pointer,
  ): void => backwardLinear(name, dInput, dOutput, input, tensors, place, pass);

  const dHidden = a.gelu; // of gelu, then of up
  backward("down", dHidden, dResidual, a.gelu);
  geluBackward(dHidden, dHidden, a.up, N * hidden);
  backward("up", a.norm2, dHidden, a.norm2);
  withGradients(pass, tensors.norm2, (gradients) =>
    layerNormBackward(
      dResidual,
      gradients,
      a.norm2,
      a.middle,
      a.moments2,
      pass.parameters.read(tensors.norm2.weight),
      N,
      C,
    ),
  );

  backward("attentionOut", a.attention, dResidual, a.attention);
  const sequences = { sequences: B, length: T, width: C };
  const dQkv = dHidden; // [N, 3C] in the room of [N, 4C]
  attentionBackward(dQkv, a.attention, a.qkv, a.logSumExp, sequences, heads);
  backward("qkv", a.norm1, dQkv, a.norm1);
  withGradients(pass, tensors.norm1, (gradients) =>
    layerNormBackward(
      dResidual,
      gradients,
      a.norm1,
      a.input,
      a.moments1,
      pass.parameters.read(tensors.norm1.weight),
      N,
      C,
    ),
  );
}

/** Weight and bias, in the caller's scope. */
export function readPair(
  parameters: ParameterSource,
  { weight, bias }: TensorPair,
): LayerNormParameters {
  return { weight: parameters.read(weight), bias: parameters.read(bias) };
}

/** `body` adds to the gradients of a weight and a bias, which then are complete. */
export function withGradients(
  { gradient }: Pick<BackwardPass, "gradient">,
  { weight, bias }: TensorPair,
  body: (gradients: LayerNormParameters) => void,
): void {
  kernels().arena.scope(() => {
    const gradients = {
      weight: gradient.open(weight),
      bias: gradient.open(bias),
    };
    body(gradients);
    gradient.close(weight, gradients.weight);
    gradient.close(bias, gradients.bias);
  });
}

type LinearName = "qkv" | "attentionOut" | "up" | "down";

function forwardLinear(
  name: LinearName,
  output: Pointer,
  input: Pointer,
  tensors: BlockTensors,
  place: BlockPlace,
  { parameters, recipe, packedWeights }: Pass,
): void {
  kernels().arena.scope(() => {
    const bias = parameters.read(tensors[name].bias);
    const linear = linearOf(name, tensors, place, parameters);
    linearForward(
      output,
      input,
      bias,
      linear,
      place.batch.N,
      recipe,
      packedWeights,
    );
  });
}

function backwardLinear(
  name: LinearName,
  dInput: Pointer,
  dOutput: Pointer,
  input: Pointer,
  tensors: BlockTensors,
  place: BlockPlace,
  pass: BackwardPass,
): void {
  const { parameters, recipe, noise, packedWeights } = pass;
  const linear = linearOf(name, tensors, place, parameters);
  pass.observe?.(linear, dOutput, input, place.batch.N);
  withGradients(pass, tensors[name], ({ weight: dWeight, bias: dBias }) =>
    linearBackward(
      { dInput, dWeight, dBias },
      dOutput,
      input,
      linear,
      place.batch.N,
      recipe,
      noise,
      packedWeights,
    ),
  );
}

/** The indices of linear layers are coordinates of noise and do not change. */
const INDICES: Record<LinearName, number> = {
  qkv: 0,
  attentionOut: 1,
  up: 2,
  down: 3,
};

function linearOf(
  name: LinearName,
  tensors: BlockTensors,
  { layer }: BlockPlace,
  parameters: ParameterSource,
): Linear {
  const { weight } = tensors[name];
  const [inFeatures, outFeatures] = weight.shape as [number, number];
  return {
    readWeight: () => parameters.read(weight),
    inFeatures,
    outFeatures,
    layer,
    index: INDICES[name],
  };
}
