/**
 * The constants that fit best, and what the model then foretells of all runs. Times are those of runs in which nothing goes
 * on beside anything else: one trainer, one microbatch; of computing, which is a trainer's thread alone, those of two
 * microbatches besides. CPU adds up whatever goes on at once: its shares are those of all runs of one trainer. How far
 * trainers drift apart is that of a run of each model with two.
 */
import { FEW, type Sample } from "./measure.ts";
import { median } from "../median.ts";
import {
  type Constants,
  costOf,
  fitCost,
  type ModelCosts,
  NO_LINK,
} from "./model.ts";
import { nearStep } from "./near-step.ts";

export type Scaling = {
  constants: Constants;
  models: Record<string, ModelCosts>;
  /** `fitted`: constants come from it. */
  points: (Sample & { predicted: number; fitted: boolean })[];
};

type Times = Omit<Constants, "difference" | "shares" | "lag">;

/** Errors: of one of the models there is no run that tells its constants */
export function foretold(samples: readonly Sample[]): Scaling {
  const near = samples.filter(({ trainers, link }) => trainers === 1 && !link);
  const few = near.filter(({ microbatches }) => microbatches <= FEW);
  const alone = near.filter(({ microbatches }) => microbatches === 1);
  const slow = samples.filter(({ link }) => link);
  for (const { preset } of samples)
    if (!alone.some((each) => each.preset === preset))
      throw new Error(
        `Expected a run of ${preset} with one trainer, one microbatch and no link, got none`,
      );
  const first = modelsOf(few);
  const times = timesOf(alone, first);
  const models = readAgain(alone, first, times);
  const even = {
    ...times,
    shares: sharesOf(near, models, times),
    difference: median(slow.map(({ share }) => share)),
    lag: 0,
  };
  const predict = (sample: Sample, by: Constants): number => {
    const setting = { ...sample, link: sample.link ?? NO_LINK };
    return nearStep(models[sample.preset]!, by, setting, sample.cores);
  };
  const pairs = pairsOf(samples);
  const lags = pairs.map((sample) => {
    const late = sample.step - predict(sample, even);
    return late / models[sample.preset]!.compute;
  });
  const constants = { ...even, lag: Math.max(0, median(lags)) };
  const points = samples.map((sample) => ({
    ...sample,
    predicted: predict(sample, constants),
    fitted: few.includes(sample) || pairs.includes(sample),
  }));
  return { constants, models, points };
}

/** Of each model the run with two trainers and the fewest shards. */
function pairsOf(samples: readonly Sample[]): Sample[] {
  const two = samples.filter(({ trainers, link }) => trainers === 2 && !link);
  const models = Map.groupBy(two, ({ preset }) => preset);
  return Array.from(models.values(), (runs) =>
    runs.reduce((least, each) => (each.shards < least.shards ? each : least)),
  );
}

function modelsOf(few: readonly Sample[]): Record<string, ModelCosts> {
  const presets = [...new Set(few.map(({ preset }) => preset))];
  return Object.fromEntries(
    presets.map((preset) => {
      const runs = few.filter((each) => each.preset === preset);
      // As of requests: one "request" a step, and a "byte" a microbatch.
      const { each: pack, byte: compute } = fitCost(
        runs.map(({ microbatches, compute: seconds }) => ({
          requests: 1,
          bytes: microbatches,
          seconds,
        })),
      );
      return [preset, { ...runs[0]!.costs, compute, pack, again: 0 }];
    }),
  );
}

function timesOf(
  alone: readonly Sample[],
  models: Record<string, ModelCosts>,
): Times {
  const push = fitCost(
    alone.map(({ shards, costs, push: seconds }) => ({
      requests: shards,
      bytes: costs.pushedBytes,
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
  // Of the smallest nothing is read again. A completion, then the request for a lease, which waits for the commit.
  const least = Math.min(...alone.map(({ costs }) => costs.parameters));
  const asks = alone
    .filter(({ costs }) => costs.parameters === least)
    .map(({ lease, commit }) => Math.max(0, lease - commit) / 2);
  // As of requests, with one "byte" a commit.
  const { each: shard, byte: once } = fitCost(
    alone.map((sample) => ({
      requests: sample.shards,
      bytes: 1,
      seconds: Math.max(0, sample.commit - kernelsOf(sample, models)),
    })),
  );
  return { push, pull, ask: median(asks), commit: { once, shard } };
}

/** Of one step's commit. */
function kernelsOf(
  { preset, microbatches }: Sample,
  models: Record<string, ModelCosts>,
): number {
  const { update, reduce, again } = models[preset]!;
  return update + again + microbatches * reduce;
}

/** What a trainer waits for the commit, beyond its kernels and constants. */
function readAgain(
  alone: readonly Sample[],
  models: Record<string, ModelCosts>,
  { ask, commit }: Times,
): Record<string, ModelCosts> {
  const entries = Object.entries(models).map(([preset, costs]) => {
    const waited = alone
      .filter((each) => each.preset === preset)
      .map((sample) => {
        const known = commit.once + sample.shards * commit.shard + 2 * ask;
        return sample.lease - known - kernelsOf(sample, models);
      });
    return [preset, { ...costs, again: Math.max(0, median(waited)) }] as const;
  });
  return Object.fromEntries(entries);
}

/**
 * Of a commit's seconds besides its kernels the edge is at work in as large a part. Both at work at once count as one after
 * the other: no more than all of the time.
 */
function sharesOf(
  near: readonly Sample[],
  models: Record<string, ModelCosts>,
  { push, pull, ask, commit }: Times,
): Constants["shares"] {
  const shares = near.map((sample) => {
    const { microbatches, shards, costs, trainersCpu, edgeCpu } = sample;
    const { compute, pack } = models[sample.preset]!;
    const requests =
      microbatches * costOf(push, costs.pushedBytes, shards) +
      (microbatches + 1) * ask +
      costOf(pull, costs.pulledBytes, shards);
    const committing = commit.once + shards * commit.shard;
    const edge = edgeCpu - kernelsOf(sample, models);
    return {
      edge: edge / (requests + committing),
      trainer: (trainersCpu - pack - microbatches * compute) / requests,
    };
  });
  const edge = Math.max(0, median(shares.map((each) => each.edge)));
  const trainer = Math.max(0, median(shares.map((each) => each.trainer)));
  const all = Math.max(1, edge + trainer);
  return { edge: edge / all, trainer: trainer / all };
}
