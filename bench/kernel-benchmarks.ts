/** The project's own benchmarks, the same ones in Node and in workerd. */
import type { Group, KernelBenchmark } from "./benchmark.ts";
import { backwardBenchmarks } from "./backward.ts";
import { bytesBenchmarks } from "./bytes.ts";
import { forwardBenchmarks } from "./forward.ts";
import { gemmBenchmarks } from "./gemm.ts";
import { muonBenchmarks } from "./muon.ts";
import { nameOf, SHAPES } from "./shapes.ts";
import { STEP_MODELS, stepBenchmarks } from "./step.ts";

export const KERNEL_GROUPS: readonly Group<KernelBenchmark>[] = [
  { name: "bytes", benchmarks: bytesBenchmarks() },
  ...SHAPES.map((shape) => ({
    name: nameOf(shape),
    benchmarks: [
      ...gemmBenchmarks(shape),
      ...forwardBenchmarks(shape),
      ...backwardBenchmarks(shape),
    ],
  })),
  { name: "muon", benchmarks: muonBenchmarks() },
  ...STEP_MODELS.map((model) => ({
    name: model.name,
    benchmarks: stepBenchmarks(model),
  })),
];

export function kernelBenchmark(name: string): KernelBenchmark {
  for (const { benchmarks } of KERNEL_GROUPS) {
    const found = benchmarks.find((benchmark) => benchmark.name === name);
    if (found) return found;
  }
  throw new Error(`Expected the name of a benchmark, got "${name}"`);
}
