/**
 * `npm run bench`: how fast the kernels are, in Node and in workerd, beside what they are compared to.
 *
 * What is timed. Data are standard normal draws, always the same. One thread. MACs are those of the
 * mathematics: T · in · out a product, T = 1024. A benchmark's file says what lies inside the clock.
 *
 * How. bench/measure.ts: benchmarks of one shape take turns in one process; values are medians of
 * samples, ratios are medians over rounds. Node puts its clock around the iterations. In workerd time
 * stands still while a Worker computes, so a request runs n iterations, and the time of a request that
 * runs none is subtracted. Code is warm before the first sample.
 *
 * Peers (bench/peers/) run in Node only, in turn with the benchmarks of their shape.
 */
import { runScript } from "../src/scripts/script.ts";
import { askedFrom, benchArgs } from "./options.ts";
import { checkPaths } from "./paths.ts";

await runScript({
  meta: {
    name: "npm run bench --",
    description:
      "Measure the kernels in Node and workerd, and other libraries beside them",
  },
  args: benchArgs,
  async run({ args }) {
    const asked = askedFrom(args);
    checkPaths(asked);
    // All that measures takes most of a second to load.
    const { bench } = await import("./run.ts");
    await bench(asked);
  },
});

// Miniflare's sockets to its runtime may linger.
process.exit();
