/**
 * The linear layer, y = x·W + b, and with the `linear-…` files beside it all that knows low precision.
 *
 * A training step spends nearly all its time in the three GEMMs of its linear layers:
 *
 *   forward    y  [T, out] = x  [T, in]  · W  [in, out]      contracts over in-features
 *   dX         dX [T, in]  = dY [T, out] · Wᵀ [out, in]      contracts over out-features
 *   dW         dW [in, out] = xᵀ [in, T] · dY [T, out]       contracts over tokens T
 *
 * Which recipe computes them in what stands in api/recipe.ts, as data. A weight may lie transposed, [out, in]; so
 * does its gradient then, dWᵀ = dYᵀ · x, of the same operands.
 *
 * bf16 means that operands are rounded when they are packed; products and sums are f32. int6 means
 * integers of at most 31, to nearest even, and an f32 scale for each 64 along K: as fine as the FP8 of the
 * paper's forward pass, at the speed of MXFP4 (assembly/int6/int6-panel.ts).
 *
 * An MXFP4 operand is brought K-contiguous, rotated, and quantized along K, the dimension its GEMM
 * contracts. One outlier spoils the shared scale of its 31 neighbours; the rotation
 * x ↦ H·diag(S)·x of each 64-segment spreads it out, and since both operands get the same S, it
 * cancels in the product: (H·S·a)·(H·S·b) = a·b. No inverse is ever computed. Algorithm 2 shrinks an
 * operand by 3/4, so that nothing clips, and rounds stochastically with independent noise for the two operands:
 * the product's mean is 9/16 of the exact one, which the GEMM's factor puts right. So dX and dW are
 * unbiased, and their errors average out over microbatches and steps.
 *
 * The bias gradient is a plain sum of the unquantized dY. The output head (tied to the token embedding)
 * never goes below bf16, as in the paper; nor do attention, LayerNorm and the residual stream, which are f32.
 */
import { type Recipe, type RecipeDescription, RECIPES } from "../api/recipe.ts";
import type { Pointer } from "../kernels/arena.ts";
import { biasBackward } from "../kernels/elementwise.ts";
import { byColumns, byRows, type Operand } from "../kernels/matmul.ts";
import { D_INPUT, D_WEIGHT, type NoiseCoordinates } from "./linear-noise.ts";
import {
  checkSegments,
  multiply,
  type ProductOperand,
} from "./linear-product.ts";
import type { PackedWeights } from "./packed-weights.ts";
import type { MatrixLayout } from "./parameters.ts";

/** One linear layer: its weight, and its place in the model, which is part of noise keys. */
export type Linear = {
  /** Reads the weight, f32 in `layout`, in the caller's arena scope; not called if its panel is cached. */
  readWeight: () => Pointer;
  layout: MatrixLayout;
  inFeatures: number;
  outFeatures: number;
  layer: number;
  /** Its index in the layer, which is part of noise keys. */
  index: number;
};

export type LinearGradients = {
  /** f32 [T, in], overwritten; may be the layer's input, which is not read afterwards. */
  dInput: Pointer;
  /** f32, same shape as the weight, overwritten. */
  dWeight: Pointer;
  /** f32 [out], added to; undefined without a bias. */
  dBias: Pointer | undefined;
};

/**
 * output = input · weight + bias. output f32 [T, out]; input f32 [T, in]; bias f32 [out], where there is one; `tokens`
 * is T; `packedWeights` of the same parameters.
 */
export function linearForward(
  output: Pointer,
  input: Pointer,
  bias: Pointer | undefined,
  linear: Linear,
  tokens: number,
  recipe: Recipe,
  packedWeights: PackedWeights,
): void {
  const { inFeatures, outFeatures, layer, index } = linear;
  const { forward }: RecipeDescription = RECIPES[recipe];
  checkSegments("inFeatures", inFeatures, forward);
  checkSegments("outFeatures", outFeatures, forward);
  const x = operandOf("a", tokens, () => byRows(input, inFeatures));
  const weight = operandOf("b", outFeatures, () => byOutputs(linear));
  const kept = { packedWeights, name: `forward ${layer}.${index}` };
  multiply(output, forward, x, { ...weight, kept }, inFeatures, { bias });
}

/**
 * The gradients of one layer. dOutput f32 [T, out]; input f32 [T, in], as the forward pass had it;
 * `packedWeights` of the same step and parameters.
 */
export function linearBackward(
  gradients: LinearGradients,
  dOutput: Pointer,
  input: Pointer,
  linear: Linear,
  tokens: number,
  recipe: Recipe,
  noise: NoiseCoordinates,
  packedWeights: PackedWeights,
): void {
  const { inFeatures, outFeatures, layer, index } = linear;
  const { dInput, dWeight }: RecipeDescription = RECIPES[recipe];
  checkSegments("outFeatures", outFeatures, dInput);
  checkSegments("tokens", tokens, dWeight);
  if (gradients.dBias !== undefined)
    biasBackward(gradients.dBias, dOutput, tokens, outFeatures);

  // The product has the weight's layout.
  const x = operandOf("a", inFeatures, () => byColumns(input, inFeatures));
  const dY = operandOf("b", outFeatures, () => byColumns(dOutput, outFeatures));
  const [first, second] = linear.layout === "in-out" ? [x, dY] : [dY, x];
  multiply(gradients.dWeight, dWeight, first, second, tokens, {
    noise: { gemm: D_WEIGHT, layer, index, ...noise },
  });

  // Last, since it may overwrite the input.
  const rows = operandOf("a", tokens, () => byRows(dOutput, outFeatures));
  const weight = operandOf("b", inFeatures, () => byInputs(linear));
  const kept = { packedWeights, name: `dX ${layer}.${index}` };
  multiply(gradients.dInput, dInput, rows, { ...weight, kept }, outFeatures, {
    noise: { gemm: D_INPUT, layer, index, ...noise },
  });
}

function operandOf(
  role: ProductOperand["role"],
  rows: number,
  read: () => Operand,
): ProductOperand {
  return { role, rows, read };
}

/** The weight [out, in]. */
function byOutputs({ readWeight, layout, ...linear }: Linear): Operand {
  return layout === "in-out"
    ? byColumns(readWeight(), linear.outFeatures)
    : byRows(readWeight(), linear.inFeatures);
}

/** The weight [in, out]. */
function byInputs({ readWeight, layout, ...linear }: Linear): Operand {
  return layout === "in-out"
    ? byRows(readWeight(), linear.outFeatures)
    : byColumns(readWeight(), linear.inFeatures);
}
