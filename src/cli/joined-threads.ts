/** Trainers of this machine in a run of an edge, each a thread. */
import { extname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { Client } from "../client/client.ts";
import type { RunAddress, ThreadMessage, ThreadTask } from "./join-thread.ts";
import { NodeFetcher } from "./node-fetcher.ts";
import { SharedPulls } from "./shared-pulls.ts";

/** Beside this file, and built so too. */
const THREAD = join(
  import.meta.dirname,
  `join-thread${extname(import.meta.filename)}`,
);
/** Its V8 has the relaxed SIMD that trainers' kernels are of. */
const LEAST_NODE = 22;

export type JoinedMicrobatch = Extract<ThreadMessage, { type: "microbatch" }>;

export type JoinedThreads = {
  /** When all have ended. Errors: what ended a trainer that the run refuses */
  ended: Promise<void>;
  /** End now; what they hold is open again. */
  leave(): void;
};

/**
 * Start trainers of these names; `report` gets a line for each trouble that a trainer meets and goes on after.
 * Errors: a Node that has no relaxed SIMD
 */
export function joinThreads(
  run: RunAddress,
  trainers: readonly string[],
  onMicrobatch: (microbatch: JoinedMicrobatch) => void,
  report: (line: string) => void,
): JoinedThreads {
  const { node } = process.versions;
  if (Number.parseInt(node) < LEAST_NODE) {
    throw new Error(
      `Expected Node ${LEAST_NODE} or later, which has relaxed SIMD, got ${node}`,
    );
  }
  const fetcher = new NodeFetcher();
  const client = new Client({ ...run, fetcher }).run(run.run);
  const pulls = new SharedPulls((...asked) => client.pull(...asked));
  const workers = trainers.map((trainer) => {
    const workerData: ThreadTask = { ...run, trainer };
    return new Worker(THREAD, { workerData });
  });
  const threads = workers.map(
    (worker, index) =>
      new Promise<void>((resolve, reject) => {
        worker.on("message", (message: ThreadMessage) => {
          const { type } = message;
          if (type === "ended") resolve();
          else if (type === "refused") reject(new Error(message.text));
          else if (type === "microbatch") onMicrobatch(message);
          else if (type === "pull") void pulls.answer(message);
          else report(`${trainers[index]!}: ${message.text}`);
        });
        worker.on("error", reject);
        worker.on("exit", () =>
          reject(
            new Error(
              "Expected the trainer's thread to report its end, got an exit without a report",
            ),
          ),
        );
      }),
  );
  return { ended: allEnded(workers, threads), leave };

  function leave(): void {
    for (const worker of workers) worker.postMessage("leave");
  }
}

async function allEnded(
  workers: readonly Worker[],
  threads: readonly Promise<void>[],
): Promise<void> {
  const outcomes = await Promise.allSettled(threads);
  await Promise.all(workers.map((worker) => worker.terminate()));
  const refused = outcomes.find((each) => each.status === "rejected");
  if (refused) throw refused.reason;
}

/** A trainer's name that runs take, of any text; this process's own. */
export function trainersName(text: string): string {
  const letters = text
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "");
  return `${letters.slice(0, 40) || "node"}-${process.pid}`;
}

/** Of so many trainers of one machine. */
export function trainerNames(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${name}-${index + 1}`);
}
