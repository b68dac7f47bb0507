/** Computes microbatches for so many seconds as it is told; answers how many a second. Tells first that it is there. */
import { DEFAULT_RECIPE } from "../../src/api/recipe.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { STEP_MODELS, stepBenchmarks } from "../step.ts";

loadKernelsFile();
const [, tiny] = STEP_MODELS;
const compute = stepBenchmarks(tiny!)
  .find(({ name }) => name.startsWith(`step/${DEFAULT_RECIPE}/`))!
  .setup() as () => void;
compute();
process.on("message", (seconds: number) => {
  const startMs = performance.now();
  let count = 0;
  let tookMs = 0;
  while (tookMs < 1000 * seconds) {
    compute();
    count++;
    tookMs = performance.now() - startMs;
  }
  process.send!((1000 * count) / tookMs);
});
process.send!("there");
