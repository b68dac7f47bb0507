/** Steps of real runs, one setting after another: each trainer a process, the edge one more. */
import { loadavg, tmpdir } from "node:os";
import { mkdtempSync, openAsBlob, rmSync } from "node:fs";
import { join } from "node:path";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { frameBytes } from "../../src/api/frame.ts";
import { startEdge } from "../../src/local/edge.ts";
import { isolateMib } from "../../src/local/isolate-mib.ts";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import {
  MODEL_PRESETS,
  type ModelPreset,
} from "../../src/cli/train/presets.ts";
import { parameterDtype } from "../../src/training/pulled-parameters.ts";
import { edgePids } from "../edge-processes.ts";
import { type Stretch, TrainingSite } from "../training-site.ts";
import { coresAtWork } from "./cores.ts";
import { commitKernels } from "./kernels.ts";
import { openLink } from "./link.ts";
import { median } from "../median.ts";
import type { Link, ModelCosts, Setting } from "./model.ts";

const DATASET = "scaling";
const MICROBATCHES = 8;
/** Of those that tell what a trainer does once a step, beside those of one. */
export const FEW = 2;
/** Of so many steps of the smallest model, those of each that are timed. */
const STEPS: Record<string, number> = { tiny: 1, small: 1 / 2, medium: 1 / 4 };
const SEQUENCES = 2;
const WIRE = "mxfp4-eden";
const SLOW: Link = { bytesPerSecond: 5e6, roundTrip: 0.02 };

/** `link` is null on this machine. */
type Point = Omit<Setting, "link"> & {
  preset: ModelPreset;
  link: Link | null;
};

/** Of one step, in seconds: medians. */
export type Sample = Point & {
  /** Of the machine, in the minute before all of them. */
  load: number;
  /** What all cores compute ÷ what one does. */
  cores: number;
  step: number;
  lease: number;
  pull: number;
  compute: number;
  push: number;
  commit: number;
  /** Of CPU, of the edge and of all trainers. */
  edgeCpu: number;
  trainersCpu: number;
  /** Bytes that a trainer pulled ÷ those of whole frames. */
  share: number;
  costs: Omit<ModelCosts, "compute" | "pack" | "again">;
};

const point = (
  preset: ModelPreset,
  trainers: number,
  shards: number,
  link: Link | null = null,
  microbatches = MICROBATCHES,
): Point => ({ preset, trainers, shards, microbatches, link });

/**
 * Those with one trainer and one microbatch, where nothing goes on beside anything else, and for computing those with two, are
 * what constants come from (fit.ts); all others are foretold.
 */
const POINTS: readonly Point[] = [
  ...[1, 4, 16].map((shards) => point("tiny", 1, shards, null, 1)),
  ...[2, 8, 16].map((shards) => point("small", 1, shards, null, 1)),
  ...[6, 16].map((shards) => point("medium", 1, shards, null, 1)),
  point("tiny", 1, 2, null, FEW),
  point("small", 1, 2, null, FEW),
  point("medium", 1, 6, null, FEW),
  ...[1, 4, 16].map((shards) => point("tiny", 1, shards)),
  ...[2, 16].map((shards) => point("small", 1, shards)),
  ...[6, 16].map((shards) => point("medium", 1, shards)),
  ...[2, 4, 8].map((trainers) => point("tiny", trainers, 2)),
  ...[2, 4, 8].map((trainers) => point("small", trainers, 2)),
  ...[2, 4, 8].map((trainers) => point("medium", trainers, 6)),
  point("tiny", 2, 8),
  point("small", 2, 16),
  point("medium", 4, 16),
  point("tiny", 1, 2, SLOW),
  point("small", 1, 2, SLOW),
];

/** An edge of this machine that has the text. */
export type ScalingEdge = {
  client: Mxfp4Edge;
  url: string;
  stateFolder: string;
  dataset: string;
};

export async function onEdge<T>(
  body: (edge: ScalingEdge) => Promise<T>,
): Promise<T> {
  const stateFolder = mkdtempSync(join(tmpdir(), "mxfp4-scaling-"));
  const edge = await startEdge({
    stateFolder,
    quiet: true,
    isolateMib: isolateMib(),
  });
  try {
    const client = new Mxfp4Edge({ baseUrl: edge.url });
    await client.putDataset(DATASET, await openAsBlob(mobyDick()));
    await client.readyDataset(DATASET);
    return await body({ client, url: edge.url, stateFolder, dataset: DATASET });
  } finally {
    await edge.close();
    rmSync(stateFolder, { recursive: true, force: true });
  }
}

export function measureScaling(
  steps: number,
  report: (line: string) => void,
  points: readonly Point[] = POINTS,
): Promise<Sample[]> {
  return onEdge(async ({ client, url, stateFolder }) => {
    const kernels = new Map<ModelPreset, Kernels>();
    const [load] = loadavg() as [number, number, number];
    const cores = await coresAtWork();
    const samples: Sample[] = [];
    for (const each of points) {
      const sample = await sampleOf(
        client,
        url,
        stateFolder,
        each,
        stepsOf(each, steps),
        kernels,
      );
      samples.push({ ...sample, load, cores });
      report(`${describe(each)}: ${(1000 * sample.step).toFixed(0)} ms`);
    }
    return samples;
  });
}

/** Steps of few microbatches are short, and constants come from them: twice as many. */
function stepsOf({ preset, microbatches }: Point, steps: number): number {
  return Math.ceil(steps * STEPS[preset]! * (microbatches <= FEW ? 2 : 1));
}

type Kernels = ReturnType<typeof commitKernels>;

async function sampleOf(
  client: Mxfp4Edge,
  edgeUrl: string,
  stateFolder: string,
  point: Point,
  steps: number,
  known: Map<ModelPreset, Kernels>,
): Promise<Omit<Sample, "load" | "cores">> {
  const { preset, trainers, shards, microbatches, link } = point;
  const linked = link ? await openLink(edgeUrl, link) : undefined;
  const site = await TrainingSite.start(client, {
    request: {
      dataset: DATASET,
      model: MODEL_PRESETS[preset],
      gradientDtype: WIRE,
      sequences: SEQUENCES,
      microbatches,
      shards,
    },
    trainers: Array.from({ length: trainers }, () => 1),
    url: linked?.url ?? edgeUrl,
    edgePids: edgePids(stateFolder),
  });
  try {
    const stretch = await site.time(steps);
    const { config, parameters } = await site.status();
    const pulledBytes = frameBytes(parameterDtype(config), parameters);
    const pulled = median(stretch.phases.map((each) => each.pulledBytes));
    const kernels = known.get(preset) ?? commitKernels(config);
    known.set(preset, kernels);
    return {
      ...point,
      share: pulled / pulledBytes / Math.min(trainers, microbatches),
      step: median(stretch.stepSeconds),
      lease: phase(stretch, "leaseMs"),
      pull: phase(stretch, "pullMs"),
      compute: phase(stretch, "computeMs"),
      push: phase(stretch, "pushMs"),
      commit: phase(stretch, "commitMs"),
      edgeCpu: stretch.edge / stretch.steps,
      trainersCpu: stretch.trainers / stretch.steps,
      costs: {
        parameters,
        pulledBytes,
        pushedBytes: frameBytes(config.gradientDtype, parameters),
        ...kernels,
      },
    };
  } finally {
    await site.end();
    linked?.close();
  }
}

function phase({ phases }: Stretch, key: keyof Stretch["phases"][0]): number {
  return median(phases.map((each) => each[key] ?? 0)) / 1000;
}

function describe({
  preset,
  trainers,
  shards,
  microbatches,
  link,
}: Point): string {
  const over = link ? `, ${describeLink(link)}` : "";
  return `${preset}, ${trainers} trainers, ${shards} shards, ${microbatches} microbatches${over}`;
}

export function describeLink({ bytesPerSecond, roundTrip }: Link): string {
  return `${bytesPerSecond / 1e6} MB/s, ${1000 * roundTrip} ms`;
}
