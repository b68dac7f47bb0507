/**
 * How long a step takes. On one machine the edge is one thread, and shares the cores with the trainers. n of these have
 * something to do: no more than the step's M microbatches. A microbatch needs, with its part of what its trainer does once
 * a step,
 *
 *   trainer = compute + n/M · pack + the trainer's share of request        seconds of a core
 *   edge    = the edge's share of request                                 seconds of a core, of its one thread
 *   wait    = the rest of request, for the disk most of all, + link
 *   request = push + ask + n/M · pull
 *
 * One trainer alone has its microbatches one after another, each after trainer + edge + wait. Of n at once each waits for
 * others that are at a core, or at the edge's thread, when it comes there. How many these are follows from how many there
 * are with one trainer less (mean value analysis of a closed queueing network: Reiser and Lavenberg 1980; m cores as one that
 * is m times as fast and a delay: Seidmann 1987):
 *
 *   R(n) = (trainer + edge) · (1 + queue(n − 1) / m) + edge · queue at the edge(n − 1) + wait
 *   step = commit + (M + (n − 1) / 2) · R(n) / n
 *
 * Who finds no microbatch open computes what another holds, until the last is done: half of one each, as trainers come
 * evenly. What a request costs is a constant, and so much a byte: push = S · a + b · bytes for S shards; so a pull. `ask` is
 * a lease with its completion, commit = its kernels + again + c + S · d, while which trainers have nothing to do. A link
 * takes its round trip, and its bytes at its rate; a slow one is pulled over as differences to the step before.
 *
 * On machines of their own (`farStep`) nobody shares a core, and a shard does its part of each push, pull and commit.
 */

/** Seconds; of `bytes`, a byte. */
export type Cost = { each: number; byte: number };

/** What does not depend on the model. */
export type Constants = {
  push: Cost;
  pull: Cost;
  /** Of a lease and its completion. */
  ask: number;
  /** Of a request's seconds those in which a core is at work, the edge's and the trainer's; else it waits. */
  shares: { edge: number; trainer: number };
  /** Besides the kernels. */
  commit: { once: number; shard: number };
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

/** Seconds of a step where all share `cores` cores of one machine. */
export function nearStep(
  costs: ModelCosts,
  constants: Constants,
  { trainers, shards, microbatches, link }: Setting,
  cores: number,
): number {
  const n = Math.min(trainers, microbatches);
  const { push, pull, ask, shares, commit } = constants;
  /** Of what a trainer does once a step, a microbatch's part. */
  const part = n / microbatches;
  const request =
    costOf(push, costs.pushedBytes, shards) +
    ask +
    part * costOf(pull, costs.pulledBytes, shards);
  const edge = shares.edge * request;
  const trainer = costs.compute + part * costs.pack + shares.trainer * request;
  const wait =
    (1 - shares.edge - shares.trainer) * request +
    travel(link, costs.pushedBytes) +
    link.roundTrip +
    part * pulledOver(link, costs, constants);
  return (
    costs.update +
    costs.again +
    microbatches * costs.reduce +
    commit.once +
    shards * commit.shard +
    ((microbatches + (n - 1) / 2) *
      roundOf({ trainer, edge, wait }, n, cores)) /
      n
  );
}

/** R(n): of one of n trainers, from one microbatch to its next. */
function roundOf(
  { trainer, edge, wait }: Record<"trainer" | "edge" | "wait", number>,
  n: number,
  cores: number,
): number {
  const work = trainer + edge;
  let [round, atCores, atEdge] = [0, 0, 0];
  for (let count = 1; count <= n; count++) {
    const [queued, served] = [
      (work / cores) * (1 + atCores),
      edge * (1 + atEdge),
    ];
    round = queued + work * (1 - 1 / cores) + edge * atEdge + wait;
    atCores = (count * queued) / round;
    atEdge = (count * served) / round;
  }
  return round;
}

/** Requests a second that one object takes (Cloudflare's documentation of Durable Objects). */
const OBJECT_REQUESTS = 1000;

/** The parts of a step where every trainer and every shard has a machine of its own, one after the other. */
export type FarStep = {
  /** All have pulled: by their own links, or one after another from a shard. */
  pull: number;
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
  const compute =
    costs.pack +
    rounds * (costs.compute + constants.ask + 2 * link.roundTrip) +
    (rounds - 1) * travel(link, costs.pushedBytes);
  const push = Math.max(travel(link, costs.pushedBytes), gathered);
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

function costOf({ each, byte }: Cost, bytes: number, requests: number): number {
  return requests * each + bytes * byte;
}

/** As trainers decide (training/link-pace.ts). */
const SLOW_BYTES_PER_SECOND = 10e6;

function pulledOver(
  link: Link,
  costs: ModelCosts,
  { difference }: Constants,
): number {
  if (link.bytesPerSecond >= SLOW_BYTES_PER_SECOND)
    return travel(link, costs.pulledBytes);
  return costs.difference + travel(link, difference * costs.pulledBytes);
}

function travel({ bytesPerSecond, roundTrip }: Link, bytes: number): number {
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
