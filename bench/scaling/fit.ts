/** The constants that fit runs with one trainer best, and what the model then foretells of all. */
import type { Sample } from "./measure.ts";
import { median } from "../median.ts";
import {
  type Constants,
  fitCost,
  type ModelCosts,
  nearStep,
  NO_LINK,
} from "./model.ts";

export type Scaling = {
  constants: Constants;
  models: Record<string, ModelCosts>;
  points: (Sample & { predicted: number })[];
};

export function foretold(samples: readonly Sample[]): Scaling {
  const alone = samples.filter(({ trainers, link }) => trainers === 1 && !link);
  const slow = samples.filter(({ link }) => link);
  const first = modelsOf(alone);
  const constants = {
    ...constantsOf(alone, first),
    difference: median(slow.map(({ share }) => share)),
  };
  const models = readAgain(alone, first, constants);
  const points = samples.map((sample) => {
    const setting = { ...sample, link: sample.link ?? NO_LINK };
    const costs = models[sample.preset]!;
    return {
      ...sample,
      predicted: nearStep(costs, constants, setting, sample.cores),
    };
  });
  return { constants, models, points };
}

function modelsOf(alone: readonly Sample[]): Record<string, ModelCosts> {
  const presets = [...new Set(alone.map(({ preset }) => preset))];
  return Object.fromEntries(
    presets.map((preset) => {
      const runs = alone.filter((each) => each.preset === preset);
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

/** What a trainer waits for the commit, beyond its kernels and constants. */
function readAgain(
  alone: readonly Sample[],
  models: Record<string, ModelCosts>,
  { ask, commit }: Constants,
): Record<string, ModelCosts> {
  const entries = Object.entries(models).map(([preset, costs]) => {
    const waited = alone
      .filter((each) => each.preset === preset)
      .map(({ lease, microbatches, shards }) => {
        const kernels = costs.update + microbatches * costs.reduce;
        const known = kernels + commit.once + shards * commit.shard;
        return lease - microbatches * ask - known;
      });
    return [preset, { ...costs, again: Math.max(0, median(waited)) }] as const;
  });
  return Object.fromEntries(entries);
}

/** Both at work at once count as one after the other: no more than all of the time. */
function sharesOf(edge: number, trainer: number): Constants["shares"] {
  const [atEdge, atTrainer] = [Math.max(0, edge), Math.max(0, trainer)];
  const all = Math.max(1, atEdge + atTrainer);
  return { edge: atEdge / all, trainer: atTrainer / all };
}

function constantsOf(
  alone: readonly Sample[],
  models: Record<string, ModelCosts>,
): Omit<Constants, "difference"> {
  const push = fitCost(
    alone.map(({ shards, microbatches, costs, push: seconds }) => ({
      requests: microbatches * shards,
      bytes: microbatches * costs.pushedBytes,
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
  const asks = alone.map(({ lease, commit }) => lease - commit);
  const requests = alone.map(({ push, pull }, i) => push + pull + asks[i]!);
  const shares = {
    edge: alone.map(({ preset, microbatches, edgeCpu }, i) => {
      const { update, reduce } = models[preset]!;
      return (edgeCpu - update - microbatches * reduce) / requests[i]!;
    }),
    trainer: alone.map(
      ({ trainersCpu, compute }, i) => (trainersCpu - compute) / requests[i]!,
    ),
  };
  // As of requests, with one "byte" a commit.
  const { each: shard, byte: once } = fitCost(
    alone.map(({ preset, shards, microbatches, commit }) => {
      const { update, reduce } = models[preset]!;
      const seconds = Math.max(0, commit - update - microbatches * reduce);
      return { requests: shards, bytes: 1, seconds };
    }),
  );
  return {
    push,
    pull,
    ask: median(asks.map((all, i) => all / alone[i]!.microbatches)),
    shares: sharesOf(median(shares.edge), median(shares.trainer)),
    commit: { once, shard },
  };
}
