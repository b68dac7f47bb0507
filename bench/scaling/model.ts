/**
 * How long a step takes. On one machine the edge is one thread, and shares the cores with the trainers. n of these have
 * something to do: no more than the step's M microbatches. While a trainer computes one, the gradient of the one before is on
 * its way, and after it what the run is told, which brings the next lease:
 *
 *   own      = compute + the trainer's share of push and ask    its thread
 *   away     = the rest of push and ask + link                  the edge's thread, the disk, the link
 *   met      = n/M · (pack + ask + pull + link)                 with nothing beside it
 *   cycle(1) = max(own, away) + n/M · min(own, away) + met
 *   step     = commit + (M + (n − 1) / 2) · cycle(n) / n
 *
 * What is so once a step counts with n/M: a trainer packs weights, asks for its first lease, pulls, and has nothing to hide its
 * last push behind. Who finds no microbatch open computes what another holds, until the last is done: half of one each, as
 * trainers come evenly. Of n at once each waits for others that are at a core, or at the edge's thread, when it comes there:
 * its work takes longer by as many as there are, in the mean, with one trainer less (mean value analysis of a closed queueing
 * network: Reiser and Lavenberg 1980; m cores as one that is m times as fast and a delay: Seidmann 1987), and then the longer
 * of own and away counts.
 *
 * What a request costs is a constant, and so much a byte: push = S · a + b · bytes for S shards; so a pull. `ask` is a
 * completion, which brings the next lease, or the request for the first. commit = its kernels + again + c + S · d, while which
 * trainers have nothing to do. A link takes its round trip, and its bytes at its rate; a slow one is pulled over as
 * differences to the step before.
 *
 * On machines of their own (`farStep`) nobody shares a core, and a shard does its part of each push, pull and commit.
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
  const { ask, shares, commit } = constants;
  /** Of what a trainer does once a step, a microbatch's part. */
  const part = n / microbatches;
  const push = costOf(constants.push, costs.pushedBytes, shards);
  const told = push + ask;
  const met = part * (ask + costOf(constants.pull, costs.pulledBytes, shards));
  const waits = 1 - shares.edge - shares.trainer;
  const stages: Stages = {
    own: { trainer: costs.compute + shares.trainer * told, edge: 0, wait: 0 },
    away: {
      trainer: 0,
      edge: shares.edge * told,
      wait: waits * told + travel(link, costs.pushedBytes) + link.roundTrip,
    },
    met: {
      trainer: part * costs.pack + shares.trainer * met,
      edge: shares.edge * met,
      wait:
        waits * met +
        part * (link.roundTrip + pulledOver(link, costs, constants)),
    },
  };
  return (
    costs.update +
    costs.again +
    microbatches * costs.reduce +
    commit.once +
    shards * commit.shard +
    ((microbatches + (n - 1) / 2) * cycleOf(stages, n, part, cores)) / n
  );
}

/** Seconds of a core for the trainer and for the edge, and of neither. */
type Stage = { trainer: number; edge: number; wait: number };
type Stages = Record<"own" | "away" | "met", Stage>;

/** Of one of n trainers, from one microbatch to its next, of which `part` hide no push. */
function cycleOf(
  { own, away, met }: Stages,
  n: number,
  part: number,
  cores: number,
): number {
  let [cycle, atCores, atEdge] = [0, 0, 0];
  for (let count = 1; count <= n; count++) {
    const [computing, pushing, meeting] = [own, away, met].map(
      ({ trainer, edge, wait }) =>
        trainer +
        edge +
        wait +
        ((trainer + edge) * atCores) / cores +
        edge * atEdge,
    ) as [number, number, number];
    const longer = Math.max(computing, pushing);
    cycle = longer + part * Math.min(computing, pushing) + meeting;
    let [queued, served] = [0, 0];
    for (const { trainer, edge } of [own, away, met]) {
      queued += ((trainer + edge) / cores) * (1 + atCores);
      served += edge * (1 + atEdge);
    }
    atCores = (count * queued) / cycle;
    atEdge = (count * served) / cycle;
  }
  return cycle;
}

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
