/** A trainer in a process of its own, as one that joins from elsewhere; tells its parent of each microbatch. */
import { Client } from "../../src/client/client.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { fingerprint } from "../../src/kernels/matmul.ts";
import type { TrainingService } from "../../src/training/service.ts";
import { RunTrainer } from "../../src/training/trainer.ts";

const [url, run, trainer] = process.argv.slice(2);
loadKernelsFile();
const service = new Client({ baseUrl: url! }).run(run!);
const told: TrainingService = {
  status: () => service.status(),
  lease: (request) => service.lease(request),
  pull: (shard, step) => service.pull(shard, step),
  push: (shard, step, microbatch, frame) =>
    service.push(shard, step, microbatch, frame),
  tokens: (dataset, start, length) => service.tokens(dataset, start, length),
  tokenizer: (dataset) => service.tokenizer(dataset),
  complete(lease, completion) {
    process.send!("computed");
    return service.complete(lease, completion);
  },
};
await new RunTrainer(told, {
  trainer: trainer!,
  bootId: crypto.randomUUID(),
  fingerprint: fingerprint(),
}).train();
process.exit();
