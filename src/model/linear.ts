/**
 * The linear layer, y = x·W + b, and the only file that knows low precision.
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
import { AppError } from "../api/errors.ts";
import {
  type DenseProduct,
  isDense,
  type PanelProduct,
  type Recipe,
  type RecipeDescription,
  RECIPES,
} from "../api/recipe.ts";
import type { Pointer } from "../kernels/arena.ts";
import { biasBackward, biasForward } from "../kernels/elementwise.ts";
import { byColumns, byRows, matmul, type Operand } from "../kernels/matmul.ts";
import { SEGMENT_LENGTH, type Side } from "../kernels/mxfp4-matmul.ts";
import {
  multiplyPanels,
  type OperandNoise,
  packPanel,
  panelBytes,
} from "../kernels/panel-product.ts";
import { kernels } from "../kernels/runtime.ts";
import {
  D_INPUT,
  D_WEIGHT,
  type NoiseCoordinates,
  noiseOf,
  type NoisyGemm,
} from "./linear-noise.ts";
import type { PackedWeights } from "./packed-weights.ts";
import type { MatrixLayout } from "./parameters.ts";

/** One linear layer: its weight, and its place in the model, which names its noise. */
export type Linear = {
  /** The weight, f32, as `layout` says, in the caller's scope; not called where its panel is at hand. */
  readWeight: () => Pointer;
  layout: MatrixLayout;
  inFeatures: number;
  outFeatures: number;
  layer: number;
  /** Of those of its layer, which noise depends on. */
  index: number;
};

export type LinearGradients = {
  /** f32 [T, in], overwritten; may be the layer's input, which nobody reads any more by then. */
  dInput: Pointer;
  /** f32 as the weight, overwritten. */
  dWeight: Pointer;
  /** f32 [out], added to; where there is a bias. */
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
  const product: RecipeDescription["forward"] = RECIPES[recipe].forward;
  const weight = () => byOutputs(linear); // [out, in]
  kernels().arena.scope(() => {
    if (isDense(product)) {
      if (bias !== undefined) biasForward(output, bias, tokens, outFeatures);
      matmul(
        output,
        byRows(input, inFeatures), // [T, in]
        weight(),
        tokens,
        outFeatures,
        inFeatures,
        {
          accumulate: bias !== undefined,
          roundToBf16: product.format === "bf16",
        },
      );
      return;
    }
    checkSegments("inFeatures", inFeatures, product);
    checkSegments("outFeatures", outFeatures, product);
    const pack = packer(product, inFeatures, () => ({}));
    const a = pack.new("a", byRows(input, inFeatures), tokens);
    const name = `forward ${layer}.${index}`;
    const b = pack.kept(packedWeights, name, "b", weight, outFeatures);
    multiplyPanels(
      output,
      product,
      a,
      b,
      tokens,
      outFeatures,
      inFeatures,
      bias,
    );
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
  const { dInput, dWeight }: RecipeDescription = RECIPES[recipe];
  if (!isDense(dInput)) {
    checkSegments("outFeatures", linear.outFeatures, dInput);
  }
  if (!isDense(dWeight)) checkSegments("tokens", tokens, dWeight);
  const { dBias } = gradients;
  if (dBias !== undefined)
    biasBackward(dBias, dOutput, tokens, linear.outFeatures);
  if (isDense(dWeight)) {
    dWeightDense(gradients.dWeight, dOutput, input, tokens, linear, dWeight);
  } else {
    const gemm = { index: D_WEIGHT, linear, product: dWeight, noise } as const;
    dWeightPanels(gradients.dWeight, dOutput, input, tokens, gemm);
  }
  // Last, since it may lie where the input does.
  if (isDense(dInput)) {
    dInputDense(gradients.dInput, dOutput, tokens, linear, dInput);
  } else {
    const gemm = { index: D_INPUT, linear, product: dInput, noise } as const;
    dInputPanels(gradients.dInput, dOutput, tokens, gemm, packedWeights);
  }
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

/** An operand of dW, contracted over tokens: `rows` of it, and what it is in a recipe. */
type TokenOperand = { operand: Operand; rows: number; role: Side };

/** xᵀ [in, T] and dYᵀ [out, T], in the order in which their product lies as the weight. */
function dWeightOperands(
  dOutput: Pointer,
  input: Pointer,
  { inFeatures, outFeatures, layout }: Linear,
): [TokenOperand, TokenOperand] {
  const x: TokenOperand = {
    operand: byColumns(input, inFeatures),
    rows: inFeatures,
    role: "a",
  };
  const dY: TokenOperand = {
    operand: byColumns(dOutput, outFeatures),
    rows: outFeatures,
    role: "b",
  };
  return layout === "in-out" ? [x, dY] : [dY, x];
}

/** dInput [T, in] = dOutput [T, out] · weight [in, out]ᵀ */
function dInputDense(
  dInput: Pointer,
  dOutput: Pointer,
  tokens: number,
  linear: Linear,
  { format }: DenseProduct,
): void {
  const { inFeatures, outFeatures } = linear;
  kernels().arena.scope(() =>
    matmul(
      dInput,
      byRows(dOutput, outFeatures), // [T, out]
      byInputs(linear), // [in, out]
      tokens,
      inFeatures,
      outFeatures,
      { roundToBf16: format === "bf16" },
    ),
  );
}

/** dWeight [in, out] = inputᵀ [in, T] · (dOutputᵀ [out, T])ᵀ, or that transposed */
function dWeightDense(
  dWeight: Pointer,
  dOutput: Pointer,
  input: Pointer,
  tokens: number,
  linear: Linear,
  { format }: DenseProduct,
): void {
  const [a, b] = dWeightOperands(dOutput, input, linear);
  matmul(dWeight, a.operand, b.operand, a.rows, b.rows, tokens, {
    roundToBf16: format === "bf16",
  });
}

/** One of the two backward GEMMs of a layer. */
type BackwardGemm = NoisyGemm & { linear: Linear };

/** dInput [T, in] = dOutput [T, out] · weight [in, out]ᵀ */
function dInputPanels(
  dInput: Pointer,
  dOutput: Pointer,
  tokens: number,
  gemm: BackwardGemm,
  packedWeights: PackedWeights,
): void {
  const { product, linear } = gemm;
  const { inFeatures, outFeatures, layer, index } = linear;
  kernels().arena.scope(() => {
    const pack = packer(product, outFeatures, noiseOf(gemm));
    const a = pack.new("a", byRows(dOutput, outFeatures), tokens); // [T, out]
    const weight = () => byInputs(linear); // [in, out]
    const name = `dX ${layer}.${index}`;
    const b = pack.kept(packedWeights, name, "b", weight, inFeatures);
    multiplyPanels(dInput, product, a, b, tokens, inFeatures, outFeatures);
  });
}

/** dWeight [in, out] = inputᵀ [in, T] · (dOutputᵀ [out, T])ᵀ, or that transposed */
function dWeightPanels(
  dWeight: Pointer,
  dOutput: Pointer,
  input: Pointer,
  tokens: number,
  gemm: BackwardGemm,
): void {
  const operands = dWeightOperands(dOutput, input, gemm.linear);
  const [first, second] = operands;
  const roles = { a: first.role, b: second.role };
  const product = inRoles(gemm.product, roles);
  kernels().arena.scope(() => {
    const noise = noiseOf(gemm);
    const pack = packer(product, tokens, (side) => noise(roles[side]));
    const a = pack.new("a", first.operand, first.rows);
    const b = pack.new("b", second.operand, second.rows);
    multiplyPanels(dWeight, product, a, b, first.rows, second.rows, tokens);
  });
}

/** The product whose sides are what the recipe's are in other places. */
function inRoles(
  product: PanelProduct,
  roles: Record<Side, Side>,
): PanelProduct {
  if (product.format !== "mxfp4") return product;
  return { ...product, a: product[roles.a], b: product[roles.b] };
}

/** Packs the operands [rows, k] of one product, in the caller's scope. */
function packer(
  product: PanelProduct,
  k: number,
  noise: (side: Side) => OperandNoise,
) {
  const packInto = (
    panel: Pointer,
    side: Side,
    operand: Operand,
    rows: number,
  ) => packPanel(panel, product, side, operand, rows, k, noise(side));
  return {
    new(side: Side, operand: Operand, rows: number): Pointer {
      const panel = kernels().arena.alloc(panelBytes(product, side, rows, k));
      packInto(panel, side, operand, rows);
      return panel;
    },
    /** The one of this name that a step has, packed once. */
    kept(
      weights: PackedWeights,
      name: string,
      side: Side,
      operand: () => Operand,
      rows: number,
    ): Pointer {
      const bytes = panelBytes(product, side, rows, k);
      return weights.panel(name, bytes, (panel) =>
        packInto(panel, side, operand(), rows),
      );
    },
  };
}

/** Panels hold whole groups of 64, and a rotation whole segments. */
function checkSegments(
  name: string,
  value: number,
  product: PanelProduct,
): void {
  const rotation = "rotation" in product ? product.rotation : 0;
  const multiple = Math.max(SEGMENT_LENGTH, rotation);
  if (value % multiple !== 0) {
    throw new AppError(
      "shape_mismatch",
      `Expected \`${name}\` to be a multiple of ${multiple} in an MXFP4 recipe, got ${value}`,
    );
  }
}
