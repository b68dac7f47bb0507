/**
 * How long a step takes. On one machine the edge is one thread, and shares the cores with the trainers:
 *
 *   step  = commit + max(path, work ÷ cores)
 *   path  = n · pull + link(pulled) + ⌈M ÷ n⌉ · (compute + push + ask + link(pushed) + round trip)
 *   work  = n · pull + M · (compute + push + ask)
 *
 * n of the trainers have something to do: no more than the step's M microbatches. What a request costs the edge is
 * a constant, and so much a byte: push = S · a + b · bytes for S shards; so a pull. `ask` is a lease with its completion,
 * commit = its kernels + c + S · d. A link takes its round trip, and its bytes at its rate.
 *
 * On machines of their own (`farStep`) nobody shares a core, a shard does its part of each push, pull and commit, and the
 * run's object takes so many requests a second.
 */

/** Seconds; of `bytes`, a byte. */
export type Cost = { each: number; byte: number };

/** What does not depend on the model. */
export type Constants = {
  push: Cost;
  pull: Cost;
  /** Of a lease and its completion. */
  ask: number;
  /** Besides the kernels. */
  commit: { once: number; shard: number };
};

export type ModelCosts = {
  parameters: number;
  pulledBytes: number;
  /** Of one microbatch. */
  pushedBytes: number;
  /** Of one microbatch. */
  compute: number;
  /** Of a commit: for each microbatch, and once. */
  reduce: number;
  update: number;
};

export type Link = { bytesPerSecond: number; roundTrip: number };
export const NO_LINK: Link = { bytesPerSecond: Infinity, roundTrip: 0 };

export type Setting = {
  trainers: number;
  shards: number;
  microbatches: number;
  link: Link;
};

/** Seconds of a step where all share `cores` cores of one machine. */
export function nearStep(
  costs: ModelCosts,
  constants: Constants,
  { trainers, shards, microbatches, link }: Setting,
  cores: number,
): number {
  const n = Math.min(trainers, microbatches);
  const push = costOf(constants.push, costs.pushedBytes, shards);
  const pull = costOf(constants.pull, costs.pulledBytes, shards);
  const each = costs.compute + push + constants.ask;
  const sent = travel(link, costs.pushedBytes) + link.roundTrip;
  const path =
    n * pull +
    travel(link, costs.pulledBytes) +
    Math.ceil(microbatches / n) * (each + sent);
  const work = n * pull + microbatches * each;
  const { once, shard } = constants.commit;
  return (
    costs.update +
    microbatches * costs.reduce +
    once +
    shards * shard +
    Math.max(path, work / cores)
  );
}

/** Requests a second that one object takes (Cloudflare's documentation of Durable Objects). */
const OBJECT_REQUESTS = 1000;

/** The parts of a step where every trainer and every shard has a machine of its own. */
export type FarStep = {
  /** A trainer's own: its link, and what it computes. */
  trainer: number;
  /** What a shard takes in and gives out while trainers wait for it. */
  shard: number;
  /** What the run's object answers. */
  run: number;
  commit: number;
  /** What has to end before the step does: the longest of the first three, then the commit. */
  seconds: number;
};

export function farStep(
  costs: ModelCosts,
  { push, pull, ask, commit }: Constants,
  { trainers, shards, microbatches, link }: Setting,
): FarStep {
  const n = Math.min(trainers, microbatches);
  const rounds = Math.ceil(microbatches / n);
  const sent = travel(link, costs.pushedBytes) + link.roundTrip;
  const trainer =
    travel(link, costs.pulledBytes) + rounds * (costs.compute + ask + sent);
  const shard =
    n * costOf(pull, costs.pulledBytes / shards, 1) +
    microbatches * costOf(push, costs.pushedBytes / shards, 1);
  // A lease comes with the completion before it.
  const run = microbatches / OBJECT_REQUESTS;
  const own =
    (costs.update + microbatches * costs.reduce) / shards +
    commit.once +
    commit.shard +
    link.roundTrip;
  return {
    trainer,
    shard,
    run,
    commit: own,
    seconds: Math.max(trainer, shard, run) + own,
  };
}

function costOf({ each, byte }: Cost, bytes: number, requests: number): number {
  return requests * each + bytes * byte;
}

function travel({ bytesPerSecond, roundTrip }: Link, bytes: number): number {
  return roundTrip + bytes / bytesPerSecond;
}

/** The line each · x + byte · y through points, by least squares; neither is below zero. */
export function fitCost(
  points: readonly { requests: number; bytes: number; seconds: number }[],
): Cost {
  const sum = (of: (point: (typeof points)[number]) => number) =>
    points.reduce((total, point) => total + of(point), 0);
  const xx = sum(({ requests }) => requests * requests);
  const yy = sum(({ bytes }) => bytes * bytes);
  const xy = sum(({ requests, bytes }) => requests * bytes);
  const xs = sum(({ requests, seconds }) => requests * seconds);
  const ys = sum(({ bytes, seconds }) => bytes * seconds);
  const determinant = xx * yy - xy * xy;
  const each = (yy * xs - xy * ys) / determinant;
  const byte = (xx * ys - xy * xs) / determinant;
  if (!(each > 0)) return { each: 0, byte: ys / yy };
  if (!(byte > 0)) return { each: xs / xx, byte: 0 };
  return { each, byte };
}
