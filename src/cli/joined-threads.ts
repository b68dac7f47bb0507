/** Trainers of this machine in a run of an edge, each a thread. */
import { extname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { messageOf } from "../api/errors.ts";
import { Client } from "../client/client.ts";
import { pause, trainerPauseMs } from "../client/retry.ts";
import type { RunAddress, ThreadMessage, ThreadTask } from "./join-thread.ts";
import { NodeFetcher } from "./node-fetcher.ts";
import { SharedPulls } from "./shared-pulls.ts";

/** Beside this file, and built so too. */
const THREAD = join(
  import.meta.dirname,
  `join-thread${extname(import.meta.filename)}`,
);
/** A trainer is lost whose threads have died so often and once more, with no microbatch done between. */
const MOST_DEATHS = 4;
/** Its V8 has the relaxed SIMD that trainers' kernels are of. */
const LEAST_NODE = 22;

export type JoinedMicrobatch = Extract<ThreadMessage, { type: "microbatch" }>;

export type JoinedThreads = {
  /** When all have ended. Errors: where all are lost, what the first was lost by */
  ended: Promise<void>;
  /** End now; what they hold is open again. */
  leave(): void;
};

/**
 * Start trainers of these names; `report` gets a line for each trouble that a trainer meets and goes on after, one for each thread
 * that dies and has another take its place, and one for each trainer that is lost while others go on.
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

  /** One thread after another, until one reports the trainer's end. Errors: as the last one's */
  async function keepTraining(trainer: string): Promise<void> {
    let deaths = 0;
    while (!leaving.signal.aborted) {
      try {
        return await oneThread(trainer, () => (deaths = 0));
      } catch (error) {
        if (error instanceof Refusal || deaths === MOST_DEATHS) throw error;
        report(`${trainer}: its thread ended, ${messageOf(error)}; starts another`); // prettier-ignore
        await pause(trainerPauseMs(deaths++), leaving.signal);
      }
    }
  }

  /** Until the trainer's end. Errors: `Refusal`; what its thread died of */
  async function oneThread(trainer: string, onWork: () => void): Promise<void> {
    const workerData: ThreadTask = { ...run, trainer };
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

/** The run takes no more of a trainer: another thread of it would be refused as well. */
class Refusal extends Error {}

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
