/**
 * One pre-norm transformer block:
 *
 *   middle = input + attentionOut(attention(qkv(norm1(input))))
 *   output = middle + down(gate(up(norm2(middle))))
 *
 * Norms, attention and gate depend on the architecture.
 */
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { add } from "../kernels/vector.ts";
import {
  backwardLinear,
  type BlockLinear,
  forwardLinear,
} from "./block-linear.ts";
import {
  type Block,
  type BlockActivations,
  type Layers,
  type LinearName,
  LINEARS,
  type Parts,
} from "./layers.ts";
import type { BackwardPass, Pass } from "./model.ts";

export function blockForward<P extends Parts>(
  layers: Layers<P>,
  a: BlockActivations<P>,
  block: Block<P>,
  pass: Pass,
): void {
  const { N } = block.batch;
  blockInside(layers, a, block, pass);
  forwardLinear(a.output, a.gated, linearOf(layers, "down", block), N, pass);
  add(a.output, a.output, a.middle, N * block.shape.width);
}

/** Computes everything up to the input of the block's last linear layer: what the backward pass reads. */
export function blockInside<P extends Parts>(
  layers: Layers<P>,
  a: BlockActivations<P>,
  block: Block<P>,
  pass: Pass,
): void {
  const { norm, attention, gate } = layers;
  const { norm1, norm2 } = block.tensors;
  const { N } = block.batch;
  const forward = (name: LinearName, output: Pointer, input: Pointer): void =>
    forwardLinear(output, input, linearOf(layers, name, block), N, pass);

  norm.forward(a.norm1, a.moments1, a.input, norm1, block, pass);
  forward("qkv", a.qkv, a.norm1);
  attention.forward(a, block, pass);
  forward("attentionOut", a.middle, a.attention);
  add(a.middle, a.middle, a.input, N * block.shape.width);

  norm.forward(a.norm2, a.moments2, a.middle, norm2, block, pass);
  forward("up", a.up, a.norm2);
  gate.forward(a, block);
}

/** Computes only the elementwise part of it, between the products. */
export function blockBetween<P extends Parts>(
  { norm, gate }: Layers<P>,
  a: BlockActivations<P>,
  block: Block<P>,
  pass: Pass,
): void {
  const { norm1, norm2 } = block.tensors;
  norm.forward(a.norm1, a.moments1, a.input, norm1, block, pass);
  norm.forward(a.norm2, a.moments2, a.middle, norm2, block, pass);
  gate.forward(a, block);
}

/**
 * `dResidual` f32 [N, C] is the gradient of the block's output, and becomes that of its input. Gradients overwrite
 * the inputs of the linear layers, so the block's activations are destroyed.
 */
export function blockBackward<P extends Parts>(
  layers: Layers<P>,
  dResidual: Pointer,
  a: BlockActivations<P>,
  block: Block<P>,
  pass: BackwardPass,
): void {
  const { norm, attention, gate } = layers;
  const { norm1, norm2 } = block.tensors;
  const { N } = block.batch;
  const backward = (
    name: LinearName,
    dInput: Pointer,
    dOutput: Pointer,
    input: Pointer,
  ): void => {
    const linear = linearOf(layers, name, block);
    backwardLinear(dInput, dOutput, input, linear, N, pass);
  };

  backward("down", a.gated, dResidual, a.gated);
  backward("up", a.norm2, gate.backward(a, block), a.norm2);
  const { middle, moments2, input, moments1 } = a;
  norm.backward(dResidual, a.norm2, middle, moments2, norm2, block, pass);

  backward("attentionOut", a.attention, dResidual, a.attention);
  kernels().arena.scope(() => {
    const dQkv = attention.backward(a, block, pass);
    backward("qkv", a.norm1, dQkv, a.norm1);
  });
  norm.backward(dResidual, a.norm1, input, moments1, norm1, block, pass);
}

function linearOf<P extends Parts>(
  layers: Layers<P>,
  name: LinearName,
  { tensors, layer }: Block<P>,
): BlockLinear {
  return {
    ...layers.linear(name, tensors),
    layer,
    index: LINEARS.indexOf(name),
  };
}
