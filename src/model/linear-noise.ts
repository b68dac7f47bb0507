/** Noise keys of a linear layer's two backward GEMMs: for signs and for stochastic rounding. */
import type { PanelProduct } from "../api/recipe.ts";
import type { Pointer } from "../kernels/arena.ts";
import { drawSigns } from "../kernels/hadamard.ts";
import type { Side } from "../kernels/mxfp4-matmul.ts";
import { noiseKey, PURPOSE, type NoiseKey } from "../kernels/noise.ts";
import type { OperandNoise } from "../kernels/panel-product.ts";
import { kernels } from "../kernels/runtime.ts";

/** The coordinates of a backward pass's noise, besides the place in the model. */
export type NoiseCoordinates = {
  seed: number;
  step: number;
  microbatch: number;
};

/** One of the two backward GEMMs, identified for noise keys. */
export type NoisyGemm = NoiseCoordinates &
  Place & { gemm: typeof D_INPUT | typeof D_WEIGHT };

/** Numbers of the backward GEMMs and their operands in noise keys. */
export const D_INPUT = 0;
export const D_WEIGHT = 1;
const OPERANDS = { a: 0, b: 1 } as const;

/** A layer's place in the model. */
type Place = { layer: number; index: number };

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
export function operandKey(
  { seed, step, microbatch }: NoiseCoordinates,
  { layer, index }: Place,
  gemm: number,
  operand: number,
): NoiseKey {
  const isWeight = gemm === D_INPUT && operand === OPERANDS.b;
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

/** The noise of a GEMM, as far as its recipe uses it: the signs, shared by both operands, and the rounding of each. */
export function noiseOf(
  noisy: NoisyGemm,
  product: PanelProduct,
): (role: Side) => OperandNoise {
  const { gemm } = noisy;
  const { arena } = kernels();
  const rotation = "rotation" in product ? product.rotation : 0;
  let signs: Pointer | undefined;
  if (rotation !== 0) {
    signs = arena.allocF32(rotation);
    drawSigns(signs, rotation, signsKey(noisy, noisy, gemm));
  }
  return (role) => {
    const isStochastic =
      product.format === "mxfp4" && product[role].rounding === "stochastic";
    const rounding = isStochastic
      ? operandKey(noisy, noisy, gemm, OPERANDS[role])
      : undefined;
    return { signs, rounding };
  };
}
