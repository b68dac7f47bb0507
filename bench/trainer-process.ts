/** A trainer in a process of its own, as one that joins from elsewhere; tells its parent of each microbatch that it has done. */
import { setImmediate } from "node:timers/promises";
import { NodeFetcher } from "../src/cli/node-fetcher.ts";
import { Client } from "../src/client/client.ts";
import { loadTrainingKernels } from "../src/kernels/load-file.ts";
import { fingerprint } from "../src/kernels/matmul.ts";
import { RunTrainer } from "../src/training/trainer.ts";

const [url, run, trainer] = process.argv.slice(2);
loadTrainingKernels();
await new RunTrainer(
  new Client({ baseUrl: url!, fetcher: new NodeFetcher() }).run(run!),
  {
    trainer: trainer!,
    bootId: crypto.randomUUID(),
    fingerprint: fingerprint(),
  },
  { turn: () => setImmediate() },
).train({
  onCompleted: ({ step, kind, index }) => process.send?.({ step, kind, index }),
});
process.exit();
