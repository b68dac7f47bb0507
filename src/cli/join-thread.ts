/** One trainer of `mxfp4-edge join`, in a thread of its own. */
import { parentPort, workerData } from "node:worker_threads";
import type { Completion, Lease } from "../api/types.ts";
import { Client } from "../client/client.ts";
import { pause, pauseMs } from "../client/retry.ts";
import { loadTrainingKernels } from "../kernels/load-file.ts";
import { fingerprint } from "../kernels/matmul.ts";
import { joinRun } from "../training/joined-trainer.ts";

export type ThreadTask = {
  baseUrl: string;
  token: string | undefined;
  run: string;
  trainer: string;
};

export type ThreadMessage =
  | ({ type: "microbatch"; trainer: string } & Omit<
      Lease,
      "deadlineMs" | "key"
    > &
      Pick<Completion, "lossSum" | "tokens">)
  | { type: "trouble"; text: string }
  | { type: "refused"; text: string }
  | { type: "ended"; outcome: string };

const port = parentPort!;
const { baseUrl, token, run, trainer } = workerData as ThreadTask;
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
  };
  const outcome = await joinRun(
    new Client({ baseUrl, token, signal }).run(run),
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
      pause: (failures) => pause(10 * pauseMs(failures), signal),
      leave: () => new Client({ baseUrl, token }).run(run).leave(identity),
    },
  );
  tell({ type: "ended", outcome });
}

await train().catch((error: unknown) =>
  tell({
    type: "refused",
    text: error instanceof Error ? error.message : String(error),
  }),
);
port.close();
