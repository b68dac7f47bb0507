/** Trainers of this machine in a run on an edge, each a thread. */
import { extname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { messageOf } from "../api/errors.ts";
import { Client } from "../client/client.ts";
import { pause, trainerPauseMs } from "../client/retry.ts";
import type { RunAddress, ThreadMessage, ThreadTask } from "./join-thread.ts";
import { NodeFetcher } from "./node-fetcher.ts";
import { SharedPulls } from "./shared-pulls.ts";
import { threadMemoryBytes } from "./thread-memory.ts";

/** Next to this file, also when bundled. */
const THREAD = join(
  import.meta.dirname,
  `join-thread${extname(import.meta.filename)}`,
);
/** A trainer is given up if its thread dies more often than this without completing a microbatch in between. */
const MOST_DEATHS = 4;
/** Its V8 has relaxed SIMD, which the trainers' kernels need. */
const LEAST_NODE = 22;

/** Of a machine: each takes its memory, and none beyond the microbatches of a step has work. */
export const MOST_TRAINERS = 64;

export type JoinedMicrobatch = Extract<ThreadMessage, { type: "microbatch" }>;

export type JoinedThreads = {
  /** Resolves when all have ended. Errors: if all failed, the first one's error */
  ended: Promise<void>;
  /** Ends now; their leases are freed. */
  leave(): void;
};

/**
 * Starts trainers with these names; `report` receives a line for each error after which a trainer continues, each
 * thread that is replaced, and each trainer that fails while others continue. Errors: Node without relaxed SIMD
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
  const memoryBytes = threadMemoryBytes(trainers.length);
  const leaving = new AbortController();
  const lost: unknown[] = [];
  return { ended: allEnded(), leave: () => leaving.abort() };

  async function allEnded(): Promise<void> {
    await Promise.all(
      trainers.map((trainer) =>
        keepTraining(trainer).catch((error: unknown) => {
          lost.push(error);
          if (lost.length < trainers.length)
            report(`${trainer} trains no more: ${messageOf(error)}`);
        }),
      ),
    );
    if (lost.length === trainers.length) throw lost[0];
  }

  /** Restarts threads until one reports the trainer's end. Errors: the last thread's */
  async function keepTraining(trainer: string): Promise<void> {
    let deaths = 0;
    while (!leaving.signal.aborted) {
      try {
        return await oneThread(trainer, () => (deaths = 0));
      } catch (error) {
        if (error instanceof Refusal || deaths === MOST_DEATHS) throw error;
        report(
          `${trainer}: its thread ended, ${messageOf(error)}; starts another`,
        );
        await pause(trainerPauseMs(deaths++), leaving.signal);
      }
    }
  }

  /** Runs one thread until the trainer's end. Errors: `Refusal`; the thread's error */
  async function oneThread(trainer: string, onWork: () => void): Promise<void> {
    const workerData: ThreadTask = { ...run, trainer, memoryBytes };
    const worker = new Worker(THREAD, { workerData });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    worker.on("message", (message: ThreadMessage) => {
      const { type } = message;
      if (type === "ended") resolve();
      else if (type === "refused") reject(new Refusal(message.text));
      else if (type === "pull") void pulls.answer(message);
      else if (type === "microbatch") {
        onWork();
        onMicrobatch(message);
      } else report(`${trainer}: ${message.text}`);
    });
    worker.on("error", reject);
    worker.on("exit", () =>
      reject(
        new Error(
          "Expected the trainer's thread to report its end, got an exit without a report",
        ),
      ),
    );
    const leave = () => worker.postMessage("leave");
    leaving.signal.addEventListener("abort", leave);
    try {
      await promise;
    } finally {
      leaving.signal.removeEventListener("abort", leave);
      await worker.terminate();
    }
  }
}

/** The run refuses the trainer: another thread would be refused too. */
class Refusal extends Error {}

/** A valid name for trainers from any text, unique to this process. */
export function trainersName(text: string): string {
  const letters = text
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "");
  return `${letters.slice(0, 40) || "node"}-${process.pid}`;
}

/** Names of `count` trainers. */
export function trainerNames(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${name}-${index + 1}`);
}
