/** The kernels in this Node process. */
import { loadDecodeFile, loadKernelsFile } from "../src/kernels/load-file.ts";
import type { Kernels } from "../src/kernels/runtime.ts";
import type { KernelBenchmark, Timed } from "./benchmark.ts";

export function loadNodeKernels(): Kernels {
  const loaded = loadKernelsFile();
  loadDecodeFile();
  return loaded;
}

/** The clock runs around the iterations only. */
export function timeInNode(
  { arena }: Kernels,
  benchmark: KernelBenchmark,
): Timed {
  const time = (iterations: number): number =>
    arena.scope(() => {
      const iterate = benchmark.setup();
      const start = performance.now();
      for (let left = iterations; left > 0; left--) iterate();
      return (performance.now() - start) / 1000;
    });
  return { ...benchmark, time: (n) => Promise.resolve(time(n)) };
}
