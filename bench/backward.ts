/**
 * `backward/<recipe>/<in>x<out>`: both gradients of a linear layer, dX and dW, as training computes
 * them (src/model/linear.ts). Inside the clock: rotating, quantizing and packing of all four operands,
 * the weight included, which a training step packs once for all its microbatches; drawing the signs;
 * and the bias gradient, a sum over tokens that every recipe has.
 */
import { GEMM_RECIPE_NAMES, type GemmRecipe } from "../src/api/recipe.ts";
import { kernels } from "../src/kernels/runtime.ts";
import { linearBackward } from "../src/model/linear.ts";
import { PackedWeights } from "../src/model/packed-weights.ts";
import type { KernelBenchmark } from "./benchmark.ts";
import { allocNormals } from "./data.ts";
import { macs, nameOf, type Shape, TOKENS } from "./shapes.ts";

export function backwardBenchmarks(shape: Shape): KernelBenchmark[] {
  return GEMM_RECIPE_NAMES.map((recipe) => ({
    name: `backward/${recipe}/${nameOf(shape)}`,
    unit: "GMAC/s",
    work: 2 * macs(shape),
    baselines: baselinesOf(recipe, shape),
    setup: () => setup(shape, recipe),
  }));
}

/** Own f32; for the paper's recipe also what others multiply f32 with in a browser or Worker. */
function baselinesOf(recipe: GemmRecipe, shape: Shape): string[] {
  if (recipe === "f32") return [];
  const own = `backward/f32/${nameOf(shape)}`;
  const peer = `peer/onnxruntime-web/gemm-f32/${nameOf(shape)}`;
  return recipe === "mxfp4-rht-sr" ? [own, peer] : [own];
}

function setup(
  { inFeatures, outFeatures }: Shape,
  recipe: GemmRecipe,
): () => void {
  const { arena } = kernels();
  const input = allocNormals(0, TOKENS * inFeatures);
  const dOutput = allocNormals(1, TOKENS * outFeatures);
  const weight = allocNormals(2, inFeatures * outFeatures);
  const linear = {
    readWeight: () => weight,
    layout: "in-out" as const,
    inFeatures,
    outFeatures,
    layer: 0,
    index: 0,
  };
  const gradients = {
    dInput: arena.allocF32(TOKENS * inFeatures),
    dWeight: arena.allocF32(inFeatures * outFeatures),
    dBias: arena.allocZeroedF32(outFeatures),
  };
  const noise = { seed: 1, step: 0, microbatch: 0 };
  const packedWeights = new PackedWeights(); // without room, so that it packs each time
  return () =>
    linearBackward(
      gradients,
      dOutput,
      input,
      linear,
      TOKENS,
      recipe,
      noise,
      packedWeights,
    );
}
