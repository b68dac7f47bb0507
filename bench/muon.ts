/**
 * `muon/<rows>x<columns>`: the orthogonalization of one matrix (src/kernels/orthogonalize.ts), by the MACs of the
 * mathematics: of each step the products X·Xᵀ, A·A and A·X, though the first two are symmetric and cost half.
 */
import {
  NEWTON_SCHULZ_STEPS,
  orthogonalize,
} from "../src/kernels/orthogonalize.ts";
import type { KernelBenchmark } from "./benchmark.ts";
import { allocNormals } from "./data.ts";

const SHAPES = [
  [128, 128],
  [128, 512],
  [256, 256],
  [256, 1024],
  [384, 1536],
] as const;

export function muonBenchmarks(): KernelBenchmark[] {
  return SHAPES.map(([rows, columns]) => ({
    name: `muon/${rows}x${columns}`,
    unit: "GMAC/s",
    work: NEWTON_SCHULZ_STEPS.length * rows * rows * (2 * columns + rows),
    baselines: [],
    setup: () => {
      const x = allocNormals(0, rows * columns);
      return () => orthogonalize(x, rows, columns);
    },
  }));
}
