/**
 * The linear layer, y = x·W + b, and the only file that knows low precision.
 *
 * A training step spends nearly all its time in the three GEMMs of its linear layers:
 *
 *   forward    y  [T, out] = x  [T, in]  · W  [in, out]      contracts over in-features
 *   dX         dX [T, in]  = dY [T, out] · Wᵀ [out, in]      contracts over out-features
 *   dW         dW [in, out] = xᵀ [in, T] · dY [T, out]       contracts over tokens T
 *
 * Which recipe computes them in what stands in api/recipe.ts, as data.
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
import { AppError } from "../api/errors.ts";
import {
  type DenseProduct,
  type Mxfp4Product,
  productFactor,
  type Recipe,
  type RecipeDescription,
  RECIPES,
} from "../api/recipe.ts";
import type { Pointer } from "../kernels/arena.ts";
import { biasBackward, biasForward } from "../kernels/layers.ts";
import {
  int6PanelBytes,
  matmulInt6,
  packInt6,
  packInt6Into,
} from "../kernels/int6-matmul.ts";
import { byColumns, byRows, matmul } from "../kernels/matmul.ts";
import {
  matmulMxfp4,
  packMxfp4,
  packMxfp4Into,
  panelBytes,
  SEGMENT_LENGTH,
} from "../kernels/mxfp4-matmul.ts";
import { drawSigns } from "../kernels/hadamard.ts";
import { noiseKey, PURPOSE, type NoiseKey } from "../kernels/noise.ts";
import { kernels } from "../kernels/runtime.ts";
import type { PackedWeights } from "./packed-weights.ts";

/** What a backward pass's noise depends on, besides the place in the model. */
export type NoiseCoordinates = {
  seed: number;
  step: number;
  microbatch: number;
};

/** One linear layer: its weight, and its place in the model, which names its noise. */
export type Linear = {
  /** The weight, f32 [in, out], in the caller's scope; not called where its panel is at hand. */
  readWeight: () => Pointer;
  inFeatures: number;
  outFeatures: number;
  layer: number;
  /** 0 QKV, 1 attention output, 2 MLP up, 3 MLP down. */
  index: number;
};

export type LinearGradients = {
  /** f32 [T, in], overwritten. */
  dInput: Pointer;
  /** f32 [in, out], overwritten. */
  dWeight: Pointer;
  /** f32 [out], added to. */
  dBias: Pointer;
};

/**
 * output = input · weight + bias. output f32 [T, out]; input f32 [T, in]; bias f32 [out]; `tokens` is T;
 * `packedWeights` of the same parameters.
 */
export function linearForward(
  output: Pointer,
  input: Pointer,
  bias: Pointer,
  linear: Linear,
  tokens: number,
  recipe: Recipe,
  packedWeights: PackedWeights,
): void {
  const { inFeatures, outFeatures } = linear;
  const { format } = RECIPES[recipe].forward;
  if (format === "int6") {
    linearForwardInt6(output, input, bias, linear, tokens, packedWeights);
    return;
  }
  biasForward(output, bias, tokens, outFeatures);
  kernels().arena.scope(() =>
    matmul(
      output,
      byRows(input, inFeatures), // [T, in]
      byColumns(linear.readWeight(), outFeatures), // [out, in]
      tokens,
      outFeatures,
      inFeatures,
      { accumulate: true, roundToBf16: format === "bf16" },
    ),
  );
}

function linearForwardInt6(
  output: Pointer,
  input: Pointer,
  bias: Pointer,
  linear: Linear,
  tokens: number,
  packedWeights: PackedWeights,
): void {
  const { inFeatures, outFeatures, layer, index } = linear;
  checkSegments("inFeatures", inFeatures);
  checkSegments("outFeatures", outFeatures);
  const bytes = int6PanelBytes("b", outFeatures, inFeatures);
  kernels().arena.scope(() => {
    const a = packInt6("a", byRows(input, inFeatures), tokens, inFeatures);
    const b = packedWeights.panel(`forward ${layer}.${index}`, bytes, (panel) =>
      packInt6Into(
        panel,
        "b",
        byColumns(linear.readWeight(), outFeatures), // [out, in]
        outFeatures,
        inFeatures,
      ),
    );
    matmulInt6(output, a, b, bias, tokens, outFeatures, inFeatures);
  });
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
  const description: RecipeDescription = RECIPES[recipe];
  biasBackward(gradients.dBias, dOutput, tokens, linear.outFeatures);
  if (description.dInput.format === "mxfp4") {
    dInputMxfp4(
      gradients.dInput,
      dOutput,
      tokens,
      { index: D_INPUT, linear, product: description.dInput, noise },
      packedWeights,
    );
  } else {
    dInputDense(gradients.dInput, dOutput, tokens, linear, description.dInput);
  }
  if (description.dWeight.format === "mxfp4") {
    dWeightMxfp4(gradients.dWeight, dOutput, input, tokens, {
      index: D_WEIGHT,
      linear,
      product: description.dWeight,
      noise,
    });
  } else {
    const product = description.dWeight;
    dWeightDense(gradients.dWeight, dOutput, input, tokens, linear, product);
  }
}

/** dInput [T, in] = dOutput [T, out] · weight [in, out]ᵀ */
function dInputDense(
  dInput: Pointer,
  dOutput: Pointer,
  tokens: number,
  { inFeatures, outFeatures, readWeight }: Linear,
  { format }: DenseProduct,
): void {
  kernels().arena.scope(() =>
    matmul(
      dInput,
      byRows(dOutput, outFeatures), // [T, out]
      byRows(readWeight(), outFeatures), // [in, out]
      tokens,
      inFeatures,
      outFeatures,
      { roundToBf16: format === "bf16" },
    ),
  );
}

/** dWeight [in, out] = inputᵀ [in, T] · (dOutputᵀ [out, T])ᵀ */
function dWeightDense(
  dWeight: Pointer,
  dOutput: Pointer,
  input: Pointer,
  tokens: number,
  { inFeatures, outFeatures }: Linear,
  { format }: DenseProduct,
): void {
  matmul(
    dWeight,
    byColumns(input, inFeatures), // [in, T]
    byColumns(dOutput, outFeatures), // [out, T]
    inFeatures,
    outFeatures,
    tokens,
    { roundToBf16: format === "bf16" },
  );
}

/** One of the two backward GEMMs, which names its noise. */
type Mxfp4Gemm = {
  index: typeof D_INPUT | typeof D_WEIGHT;
  linear: Linear;
  product: Mxfp4Product;
  noise: NoiseCoordinates;
};

/** The backward GEMMs and their operands, as they stand in noise keys. */
const D_INPUT = 0;
const D_WEIGHT = 1;
const OPERAND_A = 0;
const OPERAND_B = 1;

/** dInput [T, in] = dOutput [T, out] · weight [in, out]ᵀ */
function dInputMxfp4(
  dInput: Pointer,
  dOutput: Pointer,
  tokens: number,
  gemm: Mxfp4Gemm,
  packedWeights: PackedWeights,
): void {
  const { inFeatures, outFeatures, layer, index, readWeight } = gemm.linear;
  checkSegments("outFeatures", outFeatures);
  kernels().arena.scope(() => {
    const signs = drawGemmSigns(gemm);
    const a = packMxfp4(
      "a",
      byRows(dOutput, outFeatures), // [T, out]
      tokens,
      outFeatures,
      { signs, rounding: roundingOf(gemm, OPERAND_A) },
    );
    const bytes = panelBytes("b", inFeatures, outFeatures);
    const b = packedWeights.panel(`dX ${layer}.${index}`, bytes, (panel) =>
      packMxfp4Into(
        panel,
        "b",
        byRows(readWeight(), outFeatures), // [in, out]
        inFeatures,
        outFeatures,
        { signs, rounding: roundingOf(gemm, OPERAND_B) },
      ),
    );
    const factor = productFactor(gemm.product);
    matmulMxfp4(dInput, a, b, tokens, inFeatures, outFeatures, factor);
  });
}

/** dWeight [in, out] = inputᵀ [in, T] · (dOutputᵀ [out, T])ᵀ */
function dWeightMxfp4(
  dWeight: Pointer,
  dOutput: Pointer,
  input: Pointer,
  tokens: number,
  gemm: Mxfp4Gemm,
): void {
  const { inFeatures, outFeatures } = gemm.linear;
  checkSegments("tokens", tokens);
  kernels().arena.scope(() => {
    const signs = drawGemmSigns(gemm);
    const a = packMxfp4(
      "a",
      byColumns(input, inFeatures), // [in, T]
      inFeatures,
      tokens,
      { signs, rounding: roundingOf(gemm, OPERAND_A) },
    );
    const b = packMxfp4(
      "b",
      byColumns(dOutput, outFeatures), // [out, T]
      outFeatures,
      tokens,
      { signs, rounding: roundingOf(gemm, OPERAND_B) },
    );
    const factor = productFactor(gemm.product);
    matmulMxfp4(dWeight, a, b, inFeatures, outFeatures, tokens, factor);
  });
}

/** A layer's place in the model. */
type Place = Pick<Linear, "layer" | "index">;

/**
 * The key of a GEMM's sign vector, shared by its two operands. The weight of the dX GEMM must not
 * change within a step, or it could not be packed once for all microbatches; so neither do its signs.
 */
export function signsKey(
  { seed, step, microbatch }: NoiseCoordinates,
  { layer, index }: Place,
  gemm: number,
): NoiseKey {
  const last = gemm === D_INPUT ? 0 : microbatch + 1;
  return noiseKey(seed, PURPOSE.gemmSigns, step, layer, index, gemm, last);
}

/** The key of one operand's stochastic rounding; the weight's is shared by all microbatches. */
export function roundingKey(
  { seed, step, microbatch }: NoiseCoordinates,
  { layer, index }: Place,
  gemm: number,
  operand: number,
): NoiseKey {
  const isWeight = gemm === D_INPUT && operand === OPERAND_B;
  const last = isWeight ? 0 : microbatch + 1;
  return noiseKey(
    seed,
    PURPOSE.gemmRounding,
    step,
    layer,
    index,
    gemm,
    operand,
    last,
  );
}

/** S of one GEMM, or nothing if the recipe does not rotate. */
function drawGemmSigns({
  index,
  linear,
  product,
  noise,
}: Mxfp4Gemm): Pointer | undefined {
  if (product.rotation === 0) return undefined;
  const signs = kernels().arena.allocF32(SEGMENT_LENGTH);
  drawSigns(signs, SEGMENT_LENGTH, signsKey(noise, linear, index));
  return signs;
}

/** The noise of one operand, or none if the recipe rounds to nearest. */
function roundingOf(
  { index, linear, product, noise }: Mxfp4Gemm,
  operand: number,
): NoiseKey | undefined {
  const { rounding } = operand === OPERAND_A ? product.a : product.b;
  if (rounding !== "stochastic") return undefined;
  return roundingKey(noise, linear, index, operand);
}

function checkSegments(name: string, value: number): void {
  if (value % SEGMENT_LENGTH !== 0) {
    throw new AppError(
      "shape_mismatch",
      `Expected \`${name}\` to be a multiple of ${SEGMENT_LENGTH} in an MXFP4 recipe, got ${value}`,
    );
  }
}
