/** A linear layer of a block, with its tensors in the flat vector. */
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { type ParameterSource, withGradients } from "./flat-vector.ts";
import { type Linear, linearBackward, linearForward } from "./linear.ts";
import type { BackwardPass, Pass } from "./model.ts";
import { featuresOf, type ParameterTensor } from "./parameters.ts";

/** Its weight, optional bias, and place in the model. */
export type BlockLinear = Pick<Linear, "layer" | "index"> & {
  /** For display. */
  name: string;
  weight: ParameterTensor;
  bias?: ParameterTensor | undefined;
};

export function forwardLinear(
  output: Pointer,
  input: Pointer,
  linear: BlockLinear,
  tokens: number,
  { parameters, recipe, packedWeights }: Pass,
): void {
  kernels().arena.scope(() => {
    const bias = linear.bias && parameters.read(linear.bias);
    linearForward(
      output,
      input,
      bias,
      readable(linear, parameters),
      tokens,
      recipe,
      packedWeights,
    );
  });
}

/** `dInput` may be `input`, which is not read afterwards. */
export function backwardLinear(
  dInput: Pointer,
  dOutput: Pointer,
  input: Pointer,
  linear: BlockLinear,
  tokens: number,
  pass: BackwardPass,
): void {
  const { parameters, recipe, noise, packedWeights } = pass;
  const own = readable(linear, parameters);
  const { weight, bias, name } = linear;
  pass.observe?.({ ...own, name }, dOutput, input, tokens);
  withGradients(
    pass.gradient,
    bias ? [weight, bias] : [weight],
    ([dWeight, dBias]) =>
      linearBackward(
        { dInput, dWeight: dWeight!, dBias },
        dOutput,
        input,
        own,
        tokens,
        recipe,
        noise,
        packedWeights,
      ),
  );
}

function readable(
  { weight, layer, index }: BlockLinear,
  parameters: ParameterSource,
): Linear {
  return {
    readWeight: () => parameters.read(weight),
    layout: weight.layout,
    ...featuresOf(weight),
    layer,
    index,
  };
}
