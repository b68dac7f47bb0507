/** Many schedules on one edge, several at a time, each compared with its run left alone. */
import { messageOf } from "../../src/api/errors.ts";
import { join } from "node:path";
import type { RunRequest } from "../../src/api/run-config.ts";
import { Client } from "../../src/client/client.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { builtWorker } from "../../src/local/built-worker.ts";
import { startRuntime } from "../../src/local/runtime.ts";
import { bundleTarget } from "../../src/scripts/build/bundle.ts";
import { ensureBuilt, ROOT } from "../../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../../src/scripts/build/targets.ts";
import { killEdge } from "../edge-processes.ts";
import { befall, type Befallen, type Edge, type Outcome } from "./befall.ts";
import { type Cut, type Kinds, type Schedule, scheduleOf } from "./schedule.ts";

const FOLDER = "build/chaos";
const CONFIG = "bench/chaos/wrangler.toml";

const TINY = {
  dataset: "chaos",
  model: { layers: 1, width: 64, heads: 2, context: 64 },
  steps: 4,
  microbatches: 3,
  sequences: 1,
  optimizer: { warmupSteps: 1 },
  evaluation: { interval: 2, microbatches: 2 },
  // Recovery replays a log over a snapshot.
  snapshotSteps: 3,
} satisfies RunRequest;

/** The runs that schedules befall: every way in which gradients and moments lie. */
export const RUN_VARIANTS: readonly (RunRequest & Cut)[] = [
  { ...TINY, seed: 1, shards: 1 },
  { ...TINY, seed: 2, shards: 3, gradientDtype: "mxfp4-eden", subtree: 2 },
  { ...TINY, seed: 3, shards: 2, optimizer: { name: "adamw", warmupSteps: 1 } },
  { ...TINY, seed: 4, shards: 2, recipe: "f32", gradientDtype: "bf16" },
];

export const UNDISTURBED: Omit<Schedule, "seed" | "variant"> = {
  trainers: 1,
  network: { drop: 0, lose: 0, repeat: 0, truncate: 0, delayMs: 0 },
  objects: [],
  trainerFaults: [],
  edgeKill: null,
  liar: null,
  rewind: null,
};

/** What came of a schedule; `problem` is what should not have. */
export type ScheduleResult = {
  schedule: Schedule;
  befallen: Befallen | undefined;
  problem: string | undefined;
};

export type ChaosEdge = Edge & { close(): Promise<void> };

/** The edge with objects that fail, its state in `stateFolder`. */
export async function startChaosEdge(stateFolder: string): Promise<ChaosEdge> {
  const needs = [BUILD_TARGETS.kernels];
  await ensureBuilt(
    bundleTarget({ name: "chaos", config: CONFIG, folder: FOLDER, needs }),
  );
  loadKernelsFile();
  const running = await startRuntime(
    {
      ...builtWorker(join(ROOT, CONFIG), join(ROOT, FOLDER)),
      durableObjectsPersist: join(stateFolder, "objects"),
      r2Persist: join(stateFolder, "buckets"),
    },
    {
      stateFolder,
      host: "127.0.0.1",
      port: 0,
      isDirect: true,
      quiet: true,
      report: () => {},
      name: "chaos",
    },
  );
  const text = "It was the best of times, it was the worst of times. ";
  const client = new Client({ baseUrl: running.url });
  await client.putDataset("chaos", new Blob([text.repeat(90)]));
  const kill = () => void killEdge(stateFolder);
  return { url: running.url, client, kill, close: () => running.close() };
}

/** Runs `seeds`, `atOnce` at a time; `onResult` is told of each. */
export async function runSchedules(
  edge: ChaosEdge,
  seeds: readonly number[],
  atOnce: number,
  kinds: Kinds,
  onResult: (result: ScheduleResult) => void,
): Promise<Befallen[]> {
  const alone: Befallen[] = [];
  for (const [variant, request] of RUN_VARIANTS.entries())
    alone.push(
      await befall(edge, { ...UNDISTURBED, seed: 0, variant }, request),
    );
  const left = [...seeds];
  const lane = async () => {
    for (let seed = left.shift(); seed !== undefined; seed = left.shift()) {
      const schedule = scheduleOf(seed, RUN_VARIANTS, kinds);
      const request = RUN_VARIANTS[schedule.variant]!;
      const result: ScheduleResult = {
        schedule,
        befallen: undefined,
        problem: undefined,
      };
      try {
        result.befallen = await befall(edge, schedule, request);
        const expected = alone[schedule.variant]!.outcome;
        result.problem = difference(result.befallen.outcome, expected);
      } catch (error) {
        result.problem = messageOf(error);
      }
      onResult(result);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return alone;
}

function difference(got: Outcome, expected: Outcome): string | undefined {
  if (got.metrics !== expected.metrics)
    return `Expected the metrics ${expected.metrics}, got ${got.metrics}`;
  if (!got.checkpoint.equals(expected.checkpoint))
    return "Expected the checkpoint of the run left alone, got another";
  return undefined;
}
