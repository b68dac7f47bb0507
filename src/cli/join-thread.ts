/** A trainer of `mxfp4-edge join`, in a thread of its own. */
import { messageOf } from "../api/errors.ts";
import { setImmediate } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import type { Completion, Lease } from "../api/lease.ts";
import { Client } from "../client/client.ts";
import type { RunClient } from "../client/run-client.ts";
import { pause, trainerPauseMs } from "../client/retry.ts";
import { loadTrainingKernels } from "../kernels/load-file.ts";
import { fingerprint } from "../kernels/matmul.ts";
import { joinRun } from "../training/joined-trainer.ts";
import type { TrainingService } from "../training/service.ts";
import { NodeFetcher } from "./node-fetcher.ts";
import { type PullRequest, pullThrough } from "./shared-pulls.ts";

/** Edge, token and run. */
export type RunAddress = {
  baseUrl: string;
  token: string | undefined;
  run: string;
};
export type ThreadTask = RunAddress & { trainer: string; memoryBytes: number };

export type ThreadMessage =
  | ({ type: "microbatch"; trainer: string } & Omit<
      Lease,
      "deadlineMs" | "key"
    > &
      Pick<Completion, "lossSum" | "tokens">)
  | ({ type: "pull" } & PullRequest)
  | { type: "trouble"; text: string }
  | { type: "refused"; text: string }
  | { type: "ended"; outcome: string };

const port = parentPort!;
const { baseUrl, token, run, trainer, memoryBytes } = workerData as ThreadTask;
const fetcher = new NodeFetcher();
const leaving = new AbortController();
port.once("message", () => leaving.abort());

function tell(message: ThreadMessage): void {
  port.postMessage(message);
}

async function train(): Promise<void> {
  loadTrainingKernels();
  const { signal } = leaving;
  const identity = {
    trainer,
    bootId: crypto.randomUUID(),
    fingerprint: fingerprint(),
    host: "node" as const,
  };
  const outcome = await joinRun(
    serviceOf(new Client({ baseUrl, token, signal, fetcher }).run(run)),
    identity,
    {
      signal,
      onCompleted({ kind, step, index }, { lossSum, tokens }) {
        tell({
          type: "microbatch",
          trainer,
          kind,
          step,
          index,
          lossSum,
          tokens,
        });
      },
      onTrouble: (text) => tell({ type: "trouble", text }),
      turn: () => setImmediate(),
      memoryBytes,
      pause: (failures) => pause(trainerPauseMs(failures), signal),
      leave: () =>
        new Client({ baseUrl, token, fetcher }).run(run).leave(identity),
    },
  );
  tell({ type: "ended", outcome });
}

/** The run's service for this thread: the process pulls parameters for all threads. */
function serviceOf(client: RunClient): TrainingService {
  let createdMs: number | undefined;
  return {
    status: async () => {
      const status = await client.status();
      createdMs = status.createdMs;
      return status;
    },
    lease: (request) => client.lease(request),
    complete: (lease, completion) => client.complete(lease, completion),
    pull: pullThrough(
      (request) =>
        port.postMessage({ type: "pull", ...request }, [request.answer]),
      leaving.signal,
      () => createdMs,
    ),
    push: (shard, lease, frame) => client.push(shard, lease, frame),
    tokens: (dataset, start, length) => client.tokens(dataset, start, length),
    tokenizer: (dataset) => client.tokenizer(dataset),
  };
}

await train().catch((error: unknown) =>
  tell({
    type: "refused",
    text: messageOf(error),
  }),
);
port.close();
