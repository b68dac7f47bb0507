/** Recomputes a run step by step, and observes one microbatch of the last step. */
import { messageOf } from "../api/errors.ts";
import { wholeOf } from "../client/broken-off.ts";
import { Client } from "../client/client.ts";
import type { RunClient } from "../client/run-client.ts";
import { checkpointBytes } from "../training/checkpoint-file.ts";
import { openModel } from "../training/imported-model.ts";
import { layerErrors } from "../training/layer-errors.ts";
import { ReplayedRun } from "../training/replayed-run.ts";
import { firstResults, nextResults } from "../training/results-digest.ts";
import { codesOf } from "../training/zeroed-codes.ts";
import type { RunConfig } from "../api/run-config.ts";
import type { ObservedLayer } from "../training/observed-layers.ts";
import { loadKernelsHere } from "./training/kernels.ts";
import { tabMemoryBytes } from "./training/tab-memory.ts";
import type {
  ReplayMessage,
  ReplayTask,
  WatchedLayer,
} from "./training/replay-messages.ts";

function tell(message: ReplayMessage): void {
  postMessage(message);
}

async function replay(task: ReplayTask): Promise<void> {
  await loadKernelsHere("kernels.wasm");
  const api = new Client(task).run(task.run);
  const { config } = await api.status();
  const from = task.from === null ? undefined : await stateAt(api, task.from);
  const run = await ReplayedRun.open(config, api, tabMemoryBytes(), from);
  // A state of an earlier release has no digest of the preceding results.
  let results = from ? from.results : await firstResults(config);
  while (run.step <= task.step) {
    if (run.step === task.step) {
      const observed = await run.observe(task.microbatch);
      const layers = observed.map((layer) => watched(layer, config, task));
      tell({ type: "layers", step: task.step, layers });
    }
    const { microbatches, update, ...step } = await run.next();
    results &&= await nextResults(results, microbatches, update, step.gradNorm);
    tell({ type: "step", step: { ...step, results: results ?? null } });
  }
  if (run.step === config.steps) {
    const { perToken: valLoss, perByte: valNatsPerByte } =
      await run.evaluation();
    const step = {
      step: run.step,
      trainLoss: null,
      trainNatsPerByte: null,
      gradNorm: null,
      valLoss,
      valNatsPerByte,
      results: null,
    };
    tell({ type: "step", step });
  }
  tell({ type: "done" });
}

/** The run's full state at a step. */
async function stateAt(api: RunClient, step: number) {
  const answer = await api.checkpoint({ state: "full", step });
  const file = await checkpointBytes(await wholeOf(answer));
  const { read, run: state } = await openModel(file);
  return { step, read, results: state?.results };
}

function watched(
  layer: ObservedLayer,
  { recipe, seed }: RunConfig,
  { step, microbatch }: ReplayTask,
): WatchedLayer {
  const nearest = codesOf(layer.dOutput, "mxfp4");
  const stochastic = codesOf(layer.dOutput, "mxfp4-rht-sr");
  const { dX, dW } = layerErrors(layer, recipe, 1, () => ({
    seed,
    step,
    microbatch,
  }));
  return {
    name: layer.name,
    zeroed: stochastic.zeroed,
    clipped: stochastic.clipped,
    zeroedNearest: nearest.zeroed,
    clippedNearest: nearest.clipped,
    scales: [...stochastic.scales]
      .sort(([a], [b]) => a - b)
      .map(([exponent, count]) => ({ exponent, count })),
    dX: { cosine: dX.cosine, slope: dX.slope },
    dW: { cosine: dW.cosine, slope: dW.slope },
  };
}

addEventListener("message", ({ data }: MessageEvent<ReplayTask>) => {
  replay(data).catch((error: unknown) =>
    tell({
      type: "failed",
      text: messageOf(error),
    }),
  );
});
