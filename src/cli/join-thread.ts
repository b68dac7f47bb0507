/** One trainer of `mxfp4-edge join`, in a thread of its own. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { AppError } from "../api/errors.ts";
import type { Completion, Lease } from "../api/types.ts";
import { Client } from "../client/client.ts";
import { pause, pauseMs } from "../client/retry.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { fingerprint } from "../kernels/matmul.ts";
import {
  isFinalRefusal,
  RunTrainer,
  type TrainingBounds,
} from "../training/trainer.ts";

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

/** Beside the package's kernels, which are those of files alone. */
const PACKAGED = join(import.meta.dirname, "../../build/kernels-training.wasm");

const port = parentPort!;
const { baseUrl, token, run, trainer } = workerData as ThreadTask;
const leaving = new AbortController();
port.once("message", () => leaving.abort());

function tell(message: ThreadMessage): void {
  port.postMessage(message);
}

const bounds: TrainingBounds = {
  signal: leaving.signal,
  onCompleted({ kind, step, index }, { lossSum, tokens }) {
    tell({ type: "microbatch", trainer, kind, step, index, lossSum, tokens });
  },
};

async function train(): Promise<void> {
  loadKernelsFile(existsSync(PACKAGED) ? PACKAGED : undefined);
  const client = new Client({ baseUrl, token, signal: leaving.signal }).run(
    run,
  );
  const identity = {
    trainer,
    bootId: crypto.randomUUID(),
    fingerprint: fingerprint(),
  };
  const loop = new RunTrainer(client, identity);
  for (let failures = 0; !leaving.signal.aborted; failures++) {
    try {
      tell({ type: "ended", outcome: await loop.train(bounds) });
      return;
    } catch (error) {
      if (leaving.signal.aborted) break;
      if (error instanceof AppError && isFinalRefusal(error)) {
        if (error.code === "run_ended")
          tell({ type: "ended", outcome: "ended" });
        else tell({ type: "refused", text: error.message });
        return;
      }
      // An edge that is away for long comes back, or a person ends this.
      tell({
        type: "trouble",
        text: `${(error as Error).message}; goes on trying`,
      });
      await pause(10 * pauseMs(failures), leaving.signal);
    }
  }
  await new Client({ baseUrl, token })
    .run(run)
    .leave(identity)
    .catch(() => {});
  tell({ type: "ended", outcome: "left" });
}

await train().catch((error: unknown) =>
  tell({
    type: "refused",
    text: error instanceof Error ? error.message : String(error),
  }),
);
port.close();
