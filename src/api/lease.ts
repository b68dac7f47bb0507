/** What a trainer and its run say to each other. Times are in milliseconds since the epoch. A loss that is not finite travels as `null`. */
import type { Frame } from "./frame.ts";
import type { HostKind, RunState } from "./run-status.ts";

export type LeaseKind = "train" | "eval";

/**
 * The right to compute one microbatch. What is computed is a pure function of (kind, step, index),
 * so a lease that is lost is given again, and nothing changes if both trainers finish.
 */
export type Lease = {
  kind: LeaseKind;
  step: number;
  index: number;
  deadlineMs: number;
  /** Its author's alone; sent as `Lease-Key` with all that comes of the lease. */
  key: string;
  /** How often the run has gone back, if ever: parameters of the step that were pulled before are others. */
  rewinds?: number | undefined;
  /** When the run was created: another that has its id later has another config. */
  createdMs?: number | undefined;
};

export type LeaseRequest = {
  trainer: string;
  /** New at each start of the trainer; a new one frees what the old one still holds. */
  bootId: string;
  /** What the trainer's arithmetic depends on; a run takes one kind only. */
  fingerprint: string;
  host?: HostKind | undefined;
  /** It has room to compute a microbatch while what came of the one before is on its way. */
  ahead?: boolean | undefined;
};

/**
 * `lease` is null when there was none within the wait; `state` says whether to ask again. `ahead` is the one to
 * compute next, for who asked for such, where nobody else would go without.
 */
export type LeaseResponse = {
  state: RunState;
  lease: Lease | null;
  ahead?: Lease | undefined;
};

/** Sums over one microbatch: cross-entropy in nats, and the tokens it is summed over. */
export type Completion = {
  trainer: string;
  bootId: string;
  lossSum: number | null;
  tokens: number;
  /** Of those tokens' text; where tokens are bytes, it need not be told. */
  bytes?: number | undefined;
  /** Of a training microbatch: the SHA-256 of the frame that each shard was pushed, in order. */
  digests?: string[] | undefined;
  phases?: Phases | undefined;
  /** As `LeaseRequest`'s. */
  ahead?: boolean | undefined;
};

/**
 * Where a microbatch's time went, by its trainer's clock, in ms, and the bytes of its frames. Nobody is believed:
 * no result depends on it.
 */
export type Phases = {
  /** From the acknowledgement of what came before to having the lease. */
  leaseMs: number;
  /** Until its parameters and tokens were there. */
  pullMs: number;
  computeMs: number;
  /** Until every shard had acknowledged its gradient, as far as nothing else was computed meanwhile. */
  pushMs: number;
  pulledBytes: number;
  pushedBytes: number;
};

/** Sums over all who told of a step's microbatches, evaluation included. */
export type StepPhases = Phases & {
  /** From the last completion until every shard had the update; null where a crash fell in between. */
  commitMs: number | null;
};

/** The answer to a completion carries the next lease, which saves a round trip. */
export type CompletionResponse = LeaseResponse & { duplicate: boolean };

/** How parameters are asked for. */
export type PullOptions = {
  /** The shard's frame of the step before, for the difference where that is smaller; it is the answer's afterwards. */
  base?: Frame | undefined;
  /** Of the run, as the lease says: parameters of before may be others. */
  rewinds?: number | undefined;
  /** So long at a time a shard is waited for that has not reached the step. */
  waitMs?: number | undefined;
};
