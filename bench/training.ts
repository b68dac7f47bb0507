/**
 * `train/…`: whole steps of a run, the edge in one process and the trainers in another, as `mxfp4-edge join` has them, on this
 * machine's cores.
 *
 *   train/1-trainer, train/2-trainers  tokens a second from one commit to a later one
 *   train/step, train/overhead         ms of a step with one trainer, and those of them in which it does not compute
 *   train/edge-cpu, train/trainer-cpu  ms of CPU that a step takes in the edge's process, and in the trainer's
 *
 * So overhead ÷ step is the share that is not computing, and edge-cpu ÷ trainer-cpu what an edge has to do beside
 * a trainer. L4-d256 is `small` with microbatches of 8 × 256 tokens; L4-d128 is what `npm run train` trains unless it is told
 * otherwise, 8 × 128 tokens of byte pairs. A step has four of them.
 */
import { mkdirSync, mkdtempSync, openAsBlob, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Mxfp4Edge } from "../src/client/mxfp4-edge.ts";
import { type Edge, startEdge } from "../src/local/edge.ts";
import { isolateMib } from "../src/local/isolate-mib.ts";
import { ensureBuilt } from "../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../src/scripts/build/targets.ts";
import { mobyDick } from "../src/cli/train/moby-dick.ts";
import { MODEL_PRESETS } from "../src/cli/train/presets.ts";
import type { Benchmark, Group, Timed } from "./benchmark.ts";
import { edgePids } from "./edge-processes.ts";
import { type Stretch, TrainingSite } from "./training-site.ts";

const MICROBATCHES = 4;
/** A sample has so many steps at least: a clock of CPU time ticks every 10 ms. */
const LEAST_STEPS = 4;
const MODELS = {
  "L4-d256": { preset: "small", sequences: 8, dataset: "bytes" },
  "L4-d128": { preset: "tiny", sequences: 8, dataset: "pairs" },
} as const;
const TOKENIZERS = {
  bytes: { tokenizer: "byte" },
  pairs: { tokenizer: "bpe", vocabulary: 2048 },
} as const;

type ModelName = keyof typeof MODELS;
type Figure = "tokens" | "step" | "overhead" | "edge-cpu" | "trainer-cpu";
export type TrainingBenchmark = Benchmark & {
  model: ModelName;
  trainers: number;
  figure: Figure;
};

export const TRAINING_GROUP: Group<TrainingBenchmark> = {
  name: "train",
  benchmarks: (Object.keys(MODELS) as ModelName[]).flatMap((model) => [
    speed("train/1-trainer", model, 1, []),
    speed("train/2-trainers", model, 2, [`train/1-trainer/${model}`]),
    milliseconds("step", model, []),
    milliseconds("overhead", model, ["step"]),
    milliseconds("trainer-cpu", model, []),
    milliseconds("edge-cpu", model, ["trainer-cpu"]),
  ]),
};

/** Runs for the benchmarks, each on an edge of its own, as one that trains has; paused but for the one that is timed. */
export async function startTraining(
  benchmarks: readonly TrainingBenchmark[],
): Promise<{ timed: Timed[]; close: () => Promise<void> }> {
  await ensureBuilt(BUILD_TARGETS.worker);
  const folder = mkdtempSync(join(tmpdir(), "mxfp4-bench-train-"));
  const edges: Edge[] = [];
  const sites = new Map<string, SampledSite>();
  const close = async () => {
    for (const { site } of sites.values()) await site.end();
    for (const edge of edges) await edge.close();
    rmSync(folder, { recursive: true, force: true });
  };
  const start = async (key: string, model: ModelName, trainers: number) => {
    const stateFolder = join(folder, key);
    mkdirSync(stateFolder);
    const edge = await startEdge({
      stateFolder,
      quiet: true,
      isolateMib: isolateMib(),
    });
    edges.push(edge);
    const { preset, sequences, dataset } = MODELS[model];
    const client = new Mxfp4Edge({ baseUrl: edge.url });
    const text = await openAsBlob(mobyDick());
    await client.putDataset(dataset, text, TOKENIZERS[dataset]);
    await client.readyDataset(dataset);
    const site = await TrainingSite.start(client, {
      request: {
        dataset,
        model: MODEL_PRESETS[preset],
        gradientDtype: "mxfp4-eden",
        microbatches: MICROBATCHES,
        sequences,
      },
      trainers: [trainers],
      url: edge.url,
      edgePids: edgePids(stateFolder),
    });
    return new SampledSite(site);
  };
  try {
    const timed: Timed[] = [];
    for (const benchmark of benchmarks) {
      const { model, trainers, figure } = benchmark;
      const key = `${model}-${trainers}`;
      const sampled = sites.get(key) ?? (await start(key, model, trainers));
      sites.set(key, sampled);
      timed.push({ ...benchmark, time: (n) => sampled.time(figure, n) });
    }
    return { timed, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** One sample of a site is all figures' that ask for it, each once: so their ratios are of the same steps. */
class SampledSite {
  readonly site: TrainingSite;
  readonly #given = new Set<Figure>();
  #latest: Stretch | undefined;

  constructor(site: TrainingSite) {
    this.site = site;
  }

  /** Seconds of so many steps. */
  async time(figure: Figure, steps: number): Promise<number> {
    if (!this.#latest || this.#given.has(figure)) {
      this.#latest = await this.site.time(Math.max(steps, LEAST_STEPS));
      this.#given.clear();
    }
    this.#given.add(figure);
    return (FIGURES[figure](this.#latest) * steps) / this.#latest.steps;
  }
}

const FIGURES: Record<Figure, (stretch: Stretch) => number> = {
  tokens: ({ seconds }) => seconds,
  step: ({ seconds }) => seconds,
  overhead: ({ seconds, phases }) =>
    seconds - phases.reduce((sum, { computeMs }) => sum + computeMs, 0) / 1000,
  "edge-cpu": ({ edge }) => edge,
  "trainer-cpu": ({ trainers }) => trainers,
};

function speed(
  name: string,
  model: ModelName,
  trainers: number,
  baselines: string[],
): TrainingBenchmark {
  const { preset, sequences } = MODELS[model];
  return {
    name: `${name}/${model}`,
    unit: "tokens/s",
    work: MICROBATCHES * sequences * MODEL_PRESETS[preset].context,
    baselines,
    model,
    trainers,
    figure: "tokens",
  };
}

function milliseconds(
  figure: Exclude<Figure, "tokens">,
  model: ModelName,
  baselines: string[],
): TrainingBenchmark {
  return {
    name: `train/${figure}/${model}`,
    unit: "ms",
    work: 1,
    baselines: baselines.map((name) => `train/${name}/${model}`),
    model,
    trainers: 1,
    figure,
  };
}
