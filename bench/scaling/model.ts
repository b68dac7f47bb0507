/**
 * What a step costs, by parts, and how long it takes where every trainer and every shard has a machine of its own.
 *
 * What a request costs is a constant, and so much a byte: push = S · a + b · bytes for S shards; so a pull. `ask` is a
 * completion, which brings the next lease, or the request for the first. commit = its kernels + again + c + S · d. A link takes
 * its round trip, and its bytes at its rate; a slow one is pulled over as differences to the step before.
 */

/** Seconds; of `bytes`, a byte. */
export type Cost = { each: number; byte: number };

/** What does not depend on the model. */
export type Constants = {
  push: Cost;
  pull: Cost;
  /** Of a completion, which brings the next lease, or of the request for a step's first. */
  ask: number;
  /** Of a request's seconds those in which a core is at work, the edge's and the trainer's; else it waits. */
  shares: { edge: number; trainer: number };
  /** Besides the kernels. */
  commit: { once: number; shard: number };
  /** By how much of a microbatch's computing the last of several trainers that share cores is behind. */
  lag: number;
  /** Bytes of a difference ÷ those of a whole frame. */
  difference: number;
};

export type ModelCosts = {
  parameters: number;
  pulledBytes: number;
  /** Of one microbatch. */
  pushedBytes: number;
  /** Of one microbatch. */
  compute: number;
  /** Of a trainer's first microbatch of a step besides: its weights are packed. */
  pack: number;
  /** Of a commit: for each microbatch, and once. */
  reduce: number;
  update: number;
  /** Of a commit besides: shards for which the isolate has no room side by side are read again. */
  again: number;
  /** Making the difference to the step before, and taking it. */
  difference: number;
};

export type Link = { bytesPerSecond: number; roundTrip: number };
export const NO_LINK: Link = { bytesPerSecond: Infinity, roundTrip: 0 };

export type Setting = {
  trainers: number;
  shards: number;
  microbatches: number;
  link: Link;
};

/** Requests a second that one object takes (Cloudflare's documentation of Durable Objects). */
const OBJECT_REQUESTS = 1000;

/** The parts of a step where every trainer and every shard has a machine of its own, one after the other. */
export type FarStep = {
  /** All have pulled: by their own links, or one after another from a shard. */
  pull: number;
  /** With the leases, and what a push takes longer than computing the next. */
  compute: number;
  /** The last pushes are taken: all come at once, and a shard, or an object before it, takes one after another. */
  push: number;
  commit: number;
  /** And no more microbatches a second than the run's object answers for. */
  seconds: number;
};

/**
 * `fanIn`: so many neighbours of the fixed tree are added up in an object of their own, which gives the shard their sum in
 * f32. 1 is what there is: shards take all pushes.
 */
export function farStep(
  costs: ModelCosts,
  constants: Constants,
  { trainers, shards, microbatches, link }: Setting,
  fanIn = 1,
): FarStep {
  const n = Math.min(trainers, microbatches);
  const rounds = Math.ceil(microbatches / n);
  const reduce = costs.reduce / shards;
  const given = costOf(constants.pull, costs.pulledBytes / shards, 1);
  const taken = costOf(constants.push, costs.pushedBytes / shards, 1);
  const sums = Math.ceil(n / fanIn);
  const summed = costOf(constants.push, (4 * costs.parameters) / shards, 1);
  const gathered =
    fanIn === 1 ? n * taken : fanIn * (taken + reduce) + sums * summed;
  const { once, shard } = constants.commit;
  const pull = Math.max(pulledOver(link, costs, constants), n * given);
  const push = Math.max(travel(link, costs.pushedBytes), gathered);
  const ask = constants.ask + link.roundTrip;
  const compute =
    costs.pack +
    ask +
    rounds * costs.compute +
    (rounds - 1) * Math.max(0, push + ask - costs.compute) +
    ask;
  const commit =
    costs.update / shards +
    (fanIn === 1 ? microbatches : sums * rounds) * reduce +
    once +
    shard +
    link.roundTrip;
  const seconds = Math.max(
    pull + compute + push + commit,
    microbatches / OBJECT_REQUESTS,
  );
  return { pull, compute, push, commit, seconds };
}

export function costOf(
  { each, byte }: Cost,
  bytes: number,
  requests: number,
): number {
  return requests * each + bytes * byte;
}

/** As trainers decide (training/link-pace.ts). */
const SLOW_BYTES_PER_SECOND = 10e6;

/** Seconds of the link, for a step's parameters. */
export function pulledOver(
  link: Link,
  costs: ModelCosts,
  { difference }: Constants,
): number {
  if (link.bytesPerSecond >= SLOW_BYTES_PER_SECOND)
    return travel(link, costs.pulledBytes);
  return costs.difference + travel(link, difference * costs.pulledBytes);
}

export function travel(
  { bytesPerSecond, roundTrip }: Link,
  bytes: number,
): number {
  return roundTrip + bytes / bytesPerSecond;
}

/** The line each · x + byte · y through points, by least squares of what it is off in shares; neither is below zero. */
export function fitCost(
  points: readonly { requests: number; bytes: number; seconds: number }[],
): Cost {
  const sum = (of: (point: (typeof points)[number]) => number) =>
    points.reduce(
      (total, point) => total + of(point) / Math.max(1e-6, point.seconds ** 2),
      0,
    );
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
