/** What goes wrong in a run, and when: a pure function of a seed. */

/** An object fails when it has used its storage so many times more: it is gone, or its storage is. */
export type ObjectFault = {
  object: string;
  kind: "abort" | "storage";
  uses: number;
};

/** What becomes of a trainer's requests, as shares of them. */
export type NetworkFaults = {
  /** It does not arrive. */
  drop: number;
  /** It arrives, its answer does not. */
  lose: number;
  /** It arrives twice, the second time later than what follows. */
  repeat: number;
  /** It breaks off half-way, or its answer does. */
  truncate: number;
  /** It waits so many ms at most. */
  delayMs: number;
};

/** A trainer ends with its so many-th request, or stands still for a while. */
type TrainerFault = {
  trainer: number;
  request: number;
  kind: "kill" | "stop";
  stopMs: number;
};

/** What a trainer tells that is not so. */
export const LIES = [
  "gradient",
  "loss",
  "nan",
  "nothing pushed",
  "another's lease",
  "truncated",
  "oversized",
] as const;
export type Lie = (typeof LIES)[number];

/**
 * A trainer with a join token that lies so in a share of its microbatches. `comesFirst`, the others begin when it has told
 * each of its lies, and one was taken where one can be.
 */
export type Liar = {
  lies: readonly Lie[];
  share: number;
  comesFirst?: boolean;
};

/** At the so many-th request, the owner has the run go so many steps back, amid faults of its objects. */
export type Rewind = { request: number; steps: number; objects: ObjectFault[] };

export type Schedule = {
  seed: number;
  /** Which of the runs it befalls. */
  variant: number;
  trainers: number;
  network: NetworkFaults;
  /** `object` is the run's (`""`), a shard's (`"/0"`) or that of one of its subtrees (`"/0/1"`), the run's name apart. */
  objects: ObjectFault[];
  trainerFaults: TrainerFault[];
  /** The process of the edge is killed at the so many-th request; never, null. */
  edgeKill: number | null;
  /** With one, results need two authors: of an even seed by `verify`, else by `redundancy`. */
  liar: Liar | null;
  rewind: Rewind | null;
};

/** Into which objects a run is cut. */
export type Cut = { shards: number; microbatches: number; subtree?: number };

/** Which of these kinds a schedule may have. */
export type Kinds = { edgeKills: boolean };

export function scheduleOf(
  seed: number,
  variants: readonly Cut[],
  { edgeKills }: Kinds,
): Schedule {
  const random = randomOf(seed);
  const whole = (below: number) => Math.floor(random() * below);
  const chance = (share: number) => random() < share;
  const variant = whole(variants.length);
  const { shards, microbatches, subtree } = variants[variant]!;
  const shard = (): string => {
    const own = `/${whole(shards)}`;
    if (subtree === undefined || chance(0.5)) return own;
    return `${own}/${whole(Math.ceil(microbatches / subtree))}`;
  };
  const trainers = 1 + whole(3);
  const rate = () => (chance(0.5) ? random() * 0.12 : 0);
  const network = {
    drop: rate(),
    lose: rate(),
    repeat: rate(),
    truncate: rate(),
    delayMs: chance(0.4) ? whole(25) : 0,
  };
  const objects = Array.from({ length: whole(5) }, () => ({
    object: chance(0.5) ? "" : shard(),
    kind: chance(0.6) ? ("abort" as const) : ("storage" as const),
    uses: whole(chance(0.5) ? 40 : 300),
  }));
  const trainerFaults = Array.from({ length: whole(3) }, () => ({
    trainer: whole(trainers),
    request: 1 + whole(40),
    kind: chance(0.6) ? ("kill" as const) : ("stop" as const),
    stopMs: 100 + whole(400),
  }));
  const edgeKill = chance(0.08) ? 5 + whole(60) : null;
  const liar = chance(0.3)
    ? {
        lies: LIES.filter(() => chance(0.5)),
        share: chance(0.5) ? 1 : 0.1 + 0.9 * random(),
      }
    : null;
  const rewind = chance(0.2)
    ? {
        request: 5 + whole(60),
        steps: whole(4),
        objects: Array.from({ length: whole(3) }, () => ({
          object: chance(0.5) ? "" : shard(),
          kind: chance(0.7) ? ("abort" as const) : ("storage" as const),
          uses: whole(40),
        })),
      }
    : null;
  return {
    seed,
    variant,
    trainers: liar ? Math.max(2, trainers) : trainers,
    network,
    objects,
    trainerFaults,
    edgeKill: edgeKills ? edgeKill : null,
    liar,
    rewind,
  };
}

/** Numbers in [0, 1): splitmix32. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let word = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
    return ((word ^ (word >>> 15)) >>> 0) / 2 ** 32;
  };
}
