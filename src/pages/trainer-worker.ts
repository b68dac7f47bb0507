/** A trainer of a tab in its own Worker, with the same loop and kernels as all others. */
import { messageOf } from "../api/errors.ts";
import { Client } from "../client/client.ts";
import { pause, trainerPauseMs } from "../client/retry.ts";
import { fingerprint } from "../kernels/matmul.ts";
import { joinRun } from "../training/joined-trainer.ts";
import { waitingInLine } from "./training/few-connections.ts";
import { loadKernelsHere } from "./training/kernels.ts";
import type { TabMessage, TabTask } from "./training/tab-trainer.ts";

const leaving = new AbortController();

function tell(message: TabMessage): void {
  postMessage(message);
}

const { port1, port2 } = new MessageChannel();

/** Yields to the event loop by a message: nested timers wait at least 4 ms. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    port1.onmessage = () => resolve();
    port2.postMessage(null);
  });
}

async function train(task: TabTask): Promise<void> {
  const { baseUrl, token, run, trainer, bootId, line, memoryBytes } = task;
  await loadKernelsHere("kernels.wasm");
  const { signal } = leaving;
  const identity = {
    trainer,
    bootId,
    fingerprint: fingerprint(),
    host: "browser" as const,
  };
  const api = new Client({ baseUrl, token, signal }).run(run);
  const service = waitingInLine(api, run, line, signal);
  const outcome = await joinRun(service, identity, {
    signal,
    waitsAhead: false,
    onCompleted({ kind, step }, { lossSum, tokens, bytes }) {
      tell({ type: "microbatch", kind, step, lossSum, tokens, bytes });
    },
    onTrouble: (text) => tell({ type: "trouble", text }),
    turn,
    memoryBytes,
    pause: (failures) => pause(trainerPauseMs(failures), signal),
    leave: () => new Client({ baseUrl, token }).run(run).leave(identity),
  });
  tell({ type: "ended", outcome });
}

addEventListener("message", ({ data }: MessageEvent<TabTask | "leave">) => {
  if (data === "leave") {
    leaving.abort();
    return;
  }
  train(data).catch((error: unknown) =>
    tell({
      type: "refused",
      text: messageOf(error),
    }),
  );
});
