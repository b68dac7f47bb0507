/**
 * The JSON between a trainer and its run. Times are in milliseconds since the epoch. A loss that is not finite is sent
 * as `null`.
 */
import type { Frame } from "./frame.ts";
import type { HostKind, RunState } from "./run-status.ts";

export type LeaseKind = "train" | "eval";

/**
 * The right to compute one microbatch. The result is a pure function of (kind, step, index), so an expired lease is
 * issued again, and nothing changes if both trainers finish.
 */
export type Lease = {
  kind: LeaseKind;
  step: number;
  index: number;
  deadlineMs: number;
  /** A secret of its author; sent as `Lease-Key` with the lease's pushes and completion. */
  key: string;
  /** How often the run was rewound, if ever: parameters pulled before a rewind may differ. */
  rewinds?: number | undefined;
  /** When the run was created: a later run with the same id may have another config. */
  createdMs?: number | undefined;
};

export type LeaseRequest = {
  trainer: string;
  /** New at each start of the trainer; leases of its former start are freed. */
  bootId: string;
  /** All that the trainer's arithmetic depends on; equal for all trainers of a run. */
  fingerprint: string;
  host?: HostKind | undefined;
  /** The trainer can compute a microbatch while it pushes the previous one. */
  ahead?: boolean | undefined;
};

/**
 * `lease` is null if none was free within the wait; `state` tells whether to ask again. `ahead`, if requested, is the
 * lease to compute next, given only if no other trainer would be left without.
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
  /** Bytes of those tokens' text; optional if tokens are bytes. */
  bytes?: number | undefined;
  /** For a training microbatch: SHA-256 of the frame pushed to each shard, in order of shards. */
  digests?: string[] | undefined;
  phases?: Phases | undefined;
  /** As in `LeaseRequest`. */
  ahead?: boolean | undefined;
};

/**
 * Durations of a microbatch's phases by its trainer's clock, in ms, and the bytes of its frames. Not verified: no
 * result depends on it.
 */
export type Phases = {
  /** From the acknowledgement of the previous microbatch to receiving the lease. */
  leaseMs: number;
  /** Until parameters and tokens had arrived. */
  pullMs: number;
  computeMs: number;
  /** Until every shard had acknowledged its gradient, less time in which something else was computed. */
  pushMs: number;
  pulledBytes: number;
  pushedBytes: number;
};

/** Sums over the reported microbatches of a step, evaluation included. */
export type StepPhases = Phases & {
  /** From the last completion until every shard had updated; null if a crash came between. */
  commitMs: number | null;
};

/** The answer to a completion includes the next lease, which saves a round trip. */
export type CompletionResponse = LeaseResponse & { duplicate: boolean };

/** Options of a pull of parameters. */
export type PullOptions = {
  /** The shard's frame of the previous step, to request a delta; its bytes are overwritten. */
  base?: Frame | undefined;
  /** As in the lease: parameters from before a rewind may differ. */
  rewinds?: number | undefined;
  /** How long one request waits for a shard that has not reached the step. */
  waitMs?: number | undefined;
};
