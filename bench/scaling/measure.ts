/** Steps of real runs, one setting after another: each trainer a process, the edge one more. */
import { loadavg, tmpdir } from "node:os";
import { mkdtempSync, openAsBlob, rmSync } from "node:fs";
import { join } from "node:path";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { startEdge } from "../../src/local/edge.ts";
import { isolateMib } from "../../src/local/isolate-mib.ts";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import type { ModelPreset } from "../../src/cli/train/presets.ts";
import { Cores } from "./cores.ts";
import { commitKernels, type Kernels } from "./kernels.ts";
import { median } from "../median.ts";
import type { Link, ModelCosts, Setting } from "./model.ts";
import { SettingSite } from "./setting-site.ts";

const DATASET = "scaling";
/** One page of tokens: after a trainer's first microbatch it asks for none. */
const TEXT_BYTES = 64 * 1024;
const MICROBATCHES = 8;
/** Of those that tell what a trainer does once a step, beside those of one. */
export const FEW = 2;
/** Those of a model ÷ those of the smallest. */
const ROUNDS: Record<string, number> = { tiny: 1, small: 1 / 2, medium: 1 / 3 };
const SLOW: Link = { bytesPerSecond: 5e6, roundTrip: 0.02 };

/** `link` is null on this machine. */
export type Point = Omit<Setting, "link"> & {
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
    const text = await openAsBlob(mobyDick());
    await client.putDataset(DATASET, text.slice(0, TEXT_BYTES));
    await client.readyDataset(DATASET);
    return await body({ client, url: edge.url, stateFolder, dataset: DATASET });
  } finally {
    await edge.close();
    rmSync(stateFolder, { recursive: true, force: true });
  }
}

/** `rounds`: of the smallest model. */
export function measureScaling(
  rounds: number,
  report: (line: string) => void,
  points: readonly Point[] = POINTS,
): Promise<Sample[]> {
  return onEdge(async (edge) => {
    const [load] = loadavg() as [number, number, number];
    const cores = await Cores.start();
    try {
      const samples: Sample[] = [];
      for (const [preset, own] of Map.groupBy(points, ({ preset }) => preset)) {
        const count = Math.ceil(rounds * ROUNDS[preset]);
        const measured = await measureModel(edge, cores, own, count, report);
        samples.push(...measured.map((each) => ({ ...each, load })));
      }
      return samples;
    } finally {
      cores.close();
    }
  });
}

/** Of all settings of a model: in turns, since the machine is not equally fast all the time. */
async function measureModel(
  edge: ScalingEdge,
  cores: Cores,
  points: readonly Point[],
  rounds: number,
  report: (line: string) => void,
): Promise<Omit<Sample, "load">[]> {
  const settings: SettingSite[] = [];
  try {
    for (const point of points)
      settings.push(await SettingSite.start(edge, point));
    const config = await settings[0]!.config();
    const kernels: Kernels[] = [];
    const ratios: number[] = [];
    for (let round = 1; round <= rounds; round++) {
      for (const setting of settings) await setting.measure();
      kernels.push(commitKernels(config));
      ratios.push(await cores.atWork());
      report(`${points[0]!.preset}: round ${round} of ${rounds}`);
    }
    const usual = mediansOf(kernels);
    const samples = await Promise.all(
      settings.map((setting) => setting.sample(usual)),
    );
    return samples.map((each) => ({ ...each, cores: median(ratios) }));
  } finally {
    for (const setting of settings) await setting.end();
  }
}
function mediansOf(kernels: readonly Kernels[]): Kernels {
  const of = (key: keyof Kernels) => median(kernels.map((each) => each[key]));
  return {
    reduce: of("reduce"),
    update: of("update"),
    difference: of("difference"),
  };
}

export function describeLink({ bytesPerSecond, roundTrip }: Link): string {
  return `${bytesPerSecond / 1e6} MB/s, ${1000 * roundTrip} ms`;
}
