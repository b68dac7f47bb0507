/** Trainers in processes of their own, as they join a run from elsewhere: with Node's memory, not an isolate's. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { Client } from "../../src/client/client.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { fingerprint } from "../../src/kernels/matmul.ts";
import { RunTrainer } from "../../src/training/trainer.ts";

/** They train the run to its end, and end with it. */
export function spawnTrainers(
  url: string,
  run: string,
  count: number,
): { ended: Promise<unknown> } {
  const processes = Array.from({ length: count }, (_, index) =>
    fork(import.meta.filename, [url, run, `trainer-${index}`]),
  );
  return { ended: Promise.all(processes.map((each) => once(each, "exit"))) };
}

if (process.argv[1] === import.meta.filename) {
  const [url, run, trainer] = process.argv.slice(2);
  loadKernelsFile();
  const service = new Client({ baseUrl: url! }).run(run!);
  const bootId = crypto.randomUUID();
  const identity = { trainer: trainer!, bootId, fingerprint: fingerprint() };
  await new RunTrainer(service, identity).train();
  process.exit();
}
