/** A trainer in a process of its own, as one that joins from elsewhere; tells its parent of each microbatch. */
import { Client } from "../src/client/client.ts";
import { loadKernelsFile } from "../src/kernels/load-file.ts";
import { fingerprint } from "../src/kernels/matmul.ts";
import type { TrainingService } from "../src/training/service.ts";
import { RunTrainer } from "../src/training/trainer.ts";

/** Ms from the moment that it had all it needed to the moment that the first push began. */
export type Computed = { step: number; computeMs: number };

if (process.argv[1] === import.meta.filename) {
  const [url, run, trainer] = process.argv.slice(2);
  loadKernelsFile();
  const service = new Client({ baseUrl: url! }).run(run!);
  /** When the last of its calls was answered. */
  let answered = 0;
  let computeMs = 0;
  const timed = async <T>(call: Promise<T>): Promise<T> => {
    const result = await call;
    answered = performance.now();
    return result;
  };
  const told: TrainingService = {
    status: () => timed(service.status()),
    lease: (request) => timed(service.lease(request)),
    pull: (shard, step) => timed(service.pull(shard, step)),
    tokens: (dataset, start, length) =>
      timed(service.tokens(dataset, start, length)),
    tokenizer: (dataset) => timed(service.tokenizer(dataset)),
    push(shard, lease, frame) {
      computeMs ||= performance.now() - answered;
      return service.push(shard, lease, frame);
    },
    complete(lease, completion) {
      const computed: Computed = { step: lease.step, computeMs };
      process.send!(computed);
      computeMs = 0;
      return timed(service.complete(lease, completion));
    },
  };
  await new RunTrainer(told, {
    trainer: trainer!,
    bootId: crypto.randomUUID(),
    fingerprint: fingerprint(),
  }).train();
  process.exit();
}
