/** Steps of real runs, one setting after another: each trainer a process, the edge one more. */
import { availableParallelism, tmpdir } from "node:os";
import { mkdtempSync, openAsBlob, rmSync } from "node:fs";
import { join } from "node:path";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { frameBytes } from "../../src/api/frame.ts";
import { startEdge } from "../../src/local/edge.ts";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import {
  MODEL_PRESETS,
  type ModelPreset,
} from "../../src/cli/train/presets.ts";
import { parameterDtype } from "../../src/training/pulled-parameters.ts";
import { edgePids, type Stretch, TrainingSite } from "../training-site.ts";
import { commitKernels } from "./kernels.ts";
import { openLink } from "./link.ts";
import { median } from "./median.ts";
import {
  type Constants,
  fitCost,
  type Link,
  type ModelCosts,
  nearStep,
  NO_LINK,
  type Setting,
} from "./model.ts";

export const CORES = availableParallelism();
const DATASET = "scaling";
const MICROBATCHES = 8;
const SEQUENCES = 2;
const WIRE = "mxfp4-eden";
const SLOW: Link = { bytesPerSecond: 5e6, roundTrip: 0.02 };

type Point = Setting & { preset: ModelPreset };
type Measured = Point & {
  /** Median seconds of a step. */
  measured: number;
  predicted: number;
};

const point = (
  preset: ModelPreset,
  trainers: number,
  shards: number,
  link = NO_LINK,
): Point => ({ preset, trainers, shards, microbatches: MICROBATCHES, link });

/** What the constants come from. */
const ALONE: readonly Point[] = [
  ...[1, 2, 4, 16].map((shards) => point("tiny", 1, shards)),
  ...[2, 8, 16].map((shards) => point("small", 1, shards)),
  ...[6, 16].map((shards) => point("medium", 1, shards)),
];

/** What is foretold. */
const TOGETHER: readonly Point[] = [
  ...[2, 4, 8].map((trainers) => point("tiny", trainers, 2)),
  ...[2, 4, 8].map((trainers) => point("small", trainers, 2)),
  ...[2, 4, 8].map((trainers) => point("medium", trainers, 6)),
  point("tiny", 2, 8),
  point("small", 2, 16),
  point("medium", 4, 16),
  point("tiny", 1, 2, SLOW),
  point("small", 2, 2, SLOW),
];

export type Scaling = {
  constants: Constants;
  models: Record<string, ModelCosts>;
  points: Measured[];
};

export async function measureScaling(
  steps: number,
  report: (line: string) => void,
): Promise<Scaling> {
  const stateFolder = mkdtempSync(join(tmpdir(), "mxfp4-scaling-"));
  const edge = await startEdge({ stateFolder, quiet: true });
  try {
    const client = new Mxfp4Edge({ baseUrl: edge.url });
    await client.putDataset(DATASET, await openAsBlob(mobyDick()));
    await client.readyDataset(DATASET, () => {});
    const samples = new Map<Point, Sample>();
    for (const each of [...ALONE, ...TOGETHER]) {
      const sample = await sampleOf(client, edge.url, stateFolder, each, steps);
      samples.set(each, sample);
      report(`${describe(each)}: ${(1000 * sample.step).toFixed(0)} ms`);
    }
    const alone = ALONE.map((each) => ({ ...each, ...samples.get(each)! }));
    const models = modelsOf(alone);
    const constants = constantsOf(alone, models);
    const points = [...samples].map(([each, { step }]) => ({
      ...each,
      measured: step,
      predicted: nearStep(models[each.preset]!, constants, each, CORES),
    }));
    return { constants, models, points };
  } finally {
    await edge.close();
    rmSync(stateFolder, { recursive: true, force: true });
  }
}

/** Of one step, in seconds: medians. */
type Sample = {
  step: number;
  lease: number;
  pull: number;
  compute: number;
  push: number;
  commit: number;
  costs: Omit<ModelCosts, "compute" | "reduce" | "update">;
  kernels: () => Pick<ModelCosts, "reduce" | "update">;
};

async function sampleOf(
  client: Mxfp4Edge,
  edgeUrl: string,
  stateFolder: string,
  { preset, trainers, shards, microbatches, link }: Point,
  steps: number,
): Promise<Sample> {
  const linked = link === NO_LINK ? undefined : await openLink(edgeUrl, link);
  const site = await TrainingSite.start(client, {
    request: {
      dataset: DATASET,
      model: MODEL_PRESETS[preset],
      gradientDtype: WIRE,
      sequences: SEQUENCES,
      microbatches,
      shards,
    },
    trainers,
    url: linked?.url ?? edgeUrl,
    edgePids: edgePids(stateFolder),
  });
  try {
    const stretch = await site.time(steps);
    const { config, parameters } = await site.status();
    return {
      step: median(stretch.stepSeconds),
      lease: phase(stretch, "leaseMs"),
      pull: phase(stretch, "pullMs"),
      compute: phase(stretch, "computeMs"),
      push: phase(stretch, "pushMs"),
      commit: phase(stretch, "commitMs"),
      costs: {
        parameters,
        pulledBytes: frameBytes(parameterDtype(config), parameters),
        pushedBytes: frameBytes(config.gradientDtype, parameters),
      },
      kernels: () => commitKernels(config),
    };
  } finally {
    await site.end();
    linked?.close();
  }
}

function phase({ phases }: Stretch, key: keyof Stretch["phases"][0]): number {
  return median(phases.map((each) => each[key] ?? 0)) / 1000;
}

type Alone = Point & Sample;

/** Each model by its run of the fewest shards. */
function modelsOf(alone: readonly Alone[]): Record<string, ModelCosts> {
  const presets = [...new Set(alone.map(({ preset }) => preset))];
  return Object.fromEntries(
    presets.map((preset) => {
      const runs = alone.filter((each) => each.preset === preset);
      const compute = median(runs.map((each) => each.compute)) / MICROBATCHES;
      const { costs, kernels } = runs[0]!;
      return [preset, { ...costs, compute, ...kernels() }];
    }),
  );
}

function constantsOf(
  alone: readonly Alone[],
  models: Record<string, ModelCosts>,
): Constants {
  const push = fitCost(
    alone.map(({ shards, costs, push: seconds }) => ({
      requests: MICROBATCHES * shards,
      bytes: MICROBATCHES * costs.pushedBytes,
      seconds,
    })),
  );
  const pull = fitCost(
    alone.map(({ shards, costs, pull: seconds }) => ({
      requests: shards,
      bytes: costs.pulledBytes,
      seconds,
    })),
  );
  // The last of a step's leases waits for the commit.
  const asks = alone.map(
    ({ lease, commit }) => (lease - commit) / MICROBATCHES,
  );
  // As of requests, with one "byte" a commit.
  const { each: shard, byte: once } = fitCost(
    alone.map(({ preset, shards, commit }) => {
      const { update, reduce } = models[preset]!;
      const seconds = Math.max(0, commit - update - MICROBATCHES * reduce);
      return { requests: shards, bytes: 1, seconds };
    }),
  );
  return { push, pull, ask: median(asks), commit: { once, shard } };
}

function describe({ preset, trainers, shards, link }: Point): string {
  const over = link === NO_LINK ? "" : `, ${describeLink(link)}`;
  return `${preset}, ${trainers} trainers, ${shards} shards${over}`;
}

export function describeLink({ bytesPerSecond, roundTrip }: Link): string {
  if (bytesPerSecond === Infinity) return "local";
  return `${bytesPerSecond / 1e6} MB/s, ${1000 * roundTrip} ms`;
}
