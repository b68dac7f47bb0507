/**
 * One product [T, in] · [in, out].
 *
 *   gemm/<dtype>/…   panels in, product out; both operands were packed before the clock started
 *   matmul/f32/…     the same from plain matrices: packing both operands is inside the clock
 */
import { GEMM_RECIPES, productFactor } from "../src/api/recipe.ts";
import { byColumns, byRows, matmul, packF32 } from "../src/kernels/matmul.ts";
import { matmulMxfp4, packMxfp4 } from "../src/kernels/mxfp4-matmul.ts";
import { drawSigns } from "../src/kernels/hadamard.ts";
import { noiseKey, PURPOSE } from "../src/kernels/noise.ts";
import { kernels } from "../src/kernels/runtime.ts";
import type { KernelBenchmark } from "./benchmark.ts";
import { allocNormals } from "./data.ts";
import { macs, nameOf, type Shape, TOKENS } from "./shapes.ts";

const FACTOR = productFactor(GEMM_RECIPES["mxfp4-rht-sr"]);

export function gemmBenchmarks(shape: Shape): KernelBenchmark[] {
  const name = nameOf(shape);
  const peer = `peer/onnxruntime-web/gemm-f32/${name}`;
  const common = { unit: "GMAC/s", work: macs(shape) } as const;
  return [
    {
      ...common,
      name: `gemm/f32/${name}`,
      baselines: [peer],
      setup: () => setupGemmF32(shape),
    },
    {
      ...common,
      name: `matmul/f32/${name}`,
      baselines: [peer],
      setup: () => setupMatmulF32(shape),
    },
    {
      ...common,
      name: `gemm/mxfp4/${name}`,
      baselines: [`gemm/f32/${name}`, peer],
      setup: () => setupGemmMxfp4(shape),
    },
  ];
}

function setupGemmF32({ inFeatures, outFeatures }: Shape): () => void {
  const { arena, exports } = kernels();
  const { input, weight } = operands(inFeatures, outFeatures);
  const a = packF32("a", input, TOKENS, inFeatures, false);
  const b = packF32("b", weight, outFeatures, inFeatures, false);
  const out = arena.allocF32(TOKENS * outFeatures);
  return () =>
    exports.gemmF32(out, outFeatures, a, b, TOKENS, outFeatures, inFeatures, 0);
}

function setupMatmulF32({ inFeatures, outFeatures }: Shape): () => void {
  const { input, weight } = operands(inFeatures, outFeatures);
  const out = kernels().arena.allocF32(TOKENS * outFeatures);
  return () => matmul(out, input, weight, TOKENS, outFeatures, inFeatures);
}

function setupGemmMxfp4({ inFeatures, outFeatures }: Shape): () => void {
  const { arena } = kernels();
  const { input, weight } = operands(inFeatures, outFeatures);
  const signs = arena.allocF32(64);
  drawSigns(signs, 64, noiseKey(1, PURPOSE.gemmSigns));
  const a = packMxfp4("a", input, TOKENS, inFeatures, {
    signs,
    rounding: noiseKey(1, PURPOSE.gemmRounding, 0),
  });
  const b = packMxfp4("b", weight, outFeatures, inFeatures, {
    signs,
    rounding: noiseKey(1, PURPOSE.gemmRounding, 1),
  });
  const out = arena.allocF32(TOKENS * outFeatures);
  return () => matmulMxfp4(out, a, b, TOKENS, outFeatures, inFeatures, FACTOR);
}

function operands(inFeatures: number, outFeatures: number) {
  const input = allocNormals(0, TOKENS * inFeatures);
  const weight = allocNormals(2, inFeatures * outFeatures);
  return {
    input: byRows(input, inFeatures), // [T, in]
    weight: byColumns(weight, outFeatures), // [out, in]
  };
}
