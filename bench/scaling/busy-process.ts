/** Computes microbatches for so many seconds as it is told; answers how many a second. Tells first that it is there. */
import { DEFAULT_RECIPE } from "../../src/api/recipe.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import { STEP_MODELS, stepBenchmarks } from "../step.ts";

loadKernelsFile();
const [, tiny] = STEP_MODELS;
const { setup } = stepBenchmarks(tiny!).find(({ name }) =>
  name.startsWith(`step/${DEFAULT_RECIPE}/`),
)!;

function computed(seconds: number): number {
  return kernels().arena.scope(() => {
    const compute = setup() as () => void;
    compute();
    const startMs = performance.now();
    let count = 0;
    let tookMs = 0;
    while (tookMs < 1000 * seconds) {
      compute();
      count++;
      tookMs = performance.now() - startMs;
    }
    return (1000 * count) / tookMs;
  });
}

computed(0);
process.on("message", (seconds: number) => process.send!(computed(seconds)));
process.send!("there");
