/**
 * `forward/<operands>/<in>x<out>`: y = x · W + b as training computes it (src/model/linear.ts). Inside
 * the clock: rounding and packing the input, and the bias. bf16 also packs the weight; int6 does so once a
 * step and keeps the panel for every further microbatch, which is what is timed.
 */
import type { Recipe } from "../src/api/recipe.ts";
import { int6PanelBytes } from "../src/kernels/int6-matmul.ts";
import { kernels } from "../src/kernels/runtime.ts";
import { linearForward } from "../src/model/linear.ts";
import { PackedWeights } from "../src/model/packed-weights.ts";
import type { KernelBenchmark } from "./benchmark.ts";
import { allocNormals } from "./data.ts";
import { macs, nameOf, type Shape, TOKENS } from "./shapes.ts";

export function forwardBenchmarks(shape: Shape): KernelBenchmark[] {
  const name = nameOf(shape);
  const common = { unit: "GMAC/s", work: macs(shape) } as const;
  return [
    {
      ...common,
      name: `forward/bf16/${name}`,
      baselines: [],
      setup: () => setup(shape, "bf16"),
    },
    {
      ...common,
      name: `forward/int6/${name}`,
      baselines: [`forward/bf16/${name}`],
      setup: () => setup(shape, "int6-mxfp4-rht-sr"),
    },
  ];
}

function setup({ inFeatures, outFeatures }: Shape, recipe: Recipe): () => void {
  const { arena } = kernels();
  const input = allocNormals(0, TOKENS * inFeatures);
  const weight = allocNormals(2, inFeatures * outFeatures);
  const bias = arena.allocZeroedF32(outFeatures);
  const linear = {
    readWeight: () => weight,
    layout: "in-out" as const,
    inFeatures,
    outFeatures,
    layer: 0,
    index: 0,
  };
  const output = arena.allocF32(TOKENS * outFeatures);
  const packedWeights = new PackedWeights(
    int6PanelBytes("b", outFeatures, inFeatures),
  );
  return () =>
    linearForward(output, input, bias, linear, TOKENS, recipe, packedWeights);
}
