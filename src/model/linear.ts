/**
 * The linear layer, y = x·W + b, and the only file that knows low precision.
 *
 * A training step spends nearly all its time in the three GEMMs of its linear layers:
 *
 *   forward    y  [T, out] = x  [T, in]  · W  [in, out]      contracts over in-features
 *   dX         dX [T, in]  = dY [T, out] · Wᵀ [out, in]      contracts over out-features
 *   dW         dW [in, out] = xᵀ [in, T] · dY [T, out]       contracts over tokens T
 *
 * Which recipe uses what (arXiv 2502.20586):
 *
 *   recipe          forward   backward operands   random Hadamard   rounding         factor
 *   f32             f32       f32
 *   bf16            bf16      bf16                                  nearest even
 *   mxfp4           bf16      Algorithm 1         no                nearest even     1
 *   mxfp4-rht       bf16      Algorithm 1         64                nearest even     1
 *   mxfp4-sr        bf16      Algorithm 2         no                stochastic       16/9
 *   mxfp4-rht-sr    bf16      Algorithm 2         64                stochastic       16/9
 *   int6-mxfp4-…    int6      as without int6
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
import type { Recipe } from "../api/recipe.ts";
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

type Mxfp4Backward = { rotates: boolean; roundsStochastically: boolean };

type Precision = {
  /** Operands of the forward GEMM, of the head, and of a backward pass without MXFP4. */
  roundToBf16: boolean;
  /** The forward GEMM's operands are 6-bit integers instead. */
  forwardInt6?: boolean;
  mxfp4?: Mxfp4Backward;
};

const PRECISIONS: Record<Recipe, Precision> = {
  f32: { roundToBf16: false },
  bf16: { roundToBf16: true },
  mxfp4: {
    roundToBf16: true,
    mxfp4: { rotates: false, roundsStochastically: false },
  },
  "mxfp4-rht": {
    roundToBf16: true,
    mxfp4: { rotates: true, roundsStochastically: false },
  },
  "mxfp4-sr": {
    roundToBf16: true,
    mxfp4: { rotates: false, roundsStochastically: true },
  },
  "mxfp4-rht-sr": {
    roundToBf16: true,
    mxfp4: { rotates: true, roundsStochastically: true },
  },
  "int6-mxfp4-rht-sr": {
    roundToBf16: true,
    forwardInt6: true,
    mxfp4: { rotates: true, roundsStochastically: true },
  },
};

/** Whether a recipe's operands, the head's too, are rounded to bf16 where they are not MXFP4. */
export function roundsToBf16(recipe: Recipe): boolean {
  return PRECISIONS[recipe].roundToBf16;
}

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
  const { roundToBf16, forwardInt6 } = PRECISIONS[recipe];
  if (forwardInt6) {
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
      { accumulate: true, roundToBf16 },
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
  const { roundToBf16, mxfp4 } = PRECISIONS[recipe];
  biasBackward(gradients.dBias, dOutput, tokens, linear.outFeatures);
  if (mxfp4) {
    // What the two GEMMs contract: no segment may hold parts of two rows.
    checkSegments("outFeatures", linear.outFeatures);
    checkSegments("tokens", tokens);
    dInputMxfp4(
      gradients.dInput,
      dOutput,
      tokens,
      linear,
      mxfp4,
      noise,
      packedWeights,
    );
    dWeightMxfp4(
      gradients.dWeight,
      dOutput,
      input,
      tokens,
      linear,
      mxfp4,
      noise,
    );
    return;
  }
  const { inFeatures, outFeatures } = linear;
  kernels().arena.scope(() =>
    matmul(
      gradients.dInput,
      byRows(dOutput, outFeatures), // [T, out]
      byRows(linear.readWeight(), outFeatures), // [in, out]
      tokens,
      inFeatures,
      outFeatures,
      { roundToBf16 },
    ),
  );
  matmul(
    gradients.dWeight,
    byColumns(input, inFeatures), // [in, T]
    byColumns(dOutput, outFeatures), // [out, T]
    inFeatures,
    outFeatures,
    tokens,
    { roundToBf16 },
  );
}

/** One of the two backward GEMMs, which names its noise. */
type Mxfp4Gemm = {
  index: typeof D_INPUT | typeof D_WEIGHT;
  linear: Linear;
  precision: Mxfp4Backward;
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
  linear: Linear,
  precision: Mxfp4Backward,
  noise: NoiseCoordinates,
  packedWeights: PackedWeights,
): void {
  const { inFeatures, outFeatures, layer, index } = linear;
  const gemm: Mxfp4Gemm = { index: D_INPUT, linear, precision, noise };
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
        byRows(linear.readWeight(), outFeatures), // [in, out]
        inFeatures,
        outFeatures,
        { signs, rounding: roundingOf(gemm, OPERAND_B) },
      ),
    );
    matmulMxfp4(
      dInput,
      a,
      b,
      tokens,
      inFeatures,
      outFeatures,
      productFactor(precision),
    );
  });
}

/** dWeight [in, out] = inputᵀ [in, T] · (dOutputᵀ [out, T])ᵀ */
function dWeightMxfp4(
  dWeight: Pointer,
  dOutput: Pointer,
  input: Pointer,
  tokens: number,
  linear: Linear,
  precision: Mxfp4Backward,
  noise: NoiseCoordinates,
): void {
  const { inFeatures, outFeatures } = linear;
  const gemm: Mxfp4Gemm = { index: D_WEIGHT, linear, precision, noise };
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
    matmulMxfp4(
      dWeight,
      a,
      b,
      inFeatures,
      outFeatures,
      tokens,
      productFactor(precision),
    );
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
  precision,
  noise,
}: Mxfp4Gemm): Pointer | undefined {
  if (!precision.rotates) return undefined;
  const signs = kernels().arena.allocF32(SEGMENT_LENGTH);
  drawSigns(signs, SEGMENT_LENGTH, signsKey(noise, linear, index));
  return signs;
}

/** The noise of one operand, or none if the recipe rounds to nearest. */
function roundingOf(
  { index, linear, precision, noise }: Mxfp4Gemm,
  operand: number,
): NoiseKey | undefined {
  if (!precision.roundsStochastically) return undefined;
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

/** What undoes the prescale of the two operands. */
function productFactor({ roundsStochastically }: Mxfp4Backward): number {
  return roundsStochastically ? 16 / 9 : 1;
}
