/** The JSON of a run's status and of its owner's requests. Times are in milliseconds since the epoch. */
import type { RunConfig } from "./run-config.ts";

export type RunState =
  "running" | "paused" | "finished" | "cancelled" | "diverged";

/** Final states. */
export function hasEnded(state: RunState): boolean {
  return state === "finished" || state === "cancelled" || state === "diverged";
}

/** A shard's range `[start, start + length)` of the flat parameter vector, in elements. */
export type ShardRange = { index: number; start: number; length: number };

export type TrainerStatus = {
  /** Not unique: trainers of different authors may share a name. */
  name: string;
  /** A join token's id, or `owner.` and the name of one of the owner's trainers. */
  author: string;
  /** As reported by the trainer, null if not; not verified, nothing depends on it. */
  host: HostKind | null;
  lastSeenMs: number;
  completions: number;
};

/** Where a trainer runs: a Durable Object, a Node process, or a browser tab. */
export const HOST_KINDS = ["edge", "node", "browser"] as const;

export type HostKind = (typeof HOST_KINDS)[number];

export type RunStatus = {
  run: string;
  /** For display, null if unnamed; not unique. */
  name: string | null;
  state: RunState;
  /** Number of updates applied to the parameters. */
  step: number;
  config: RunConfig;
  /** Of its trainers; null before the first. */
  fingerprint: string | null;
  parameters: number;
  shards: ShardRange[];
  trainers: TrainerStatus[];
  trainLoss: number | null;
  trainNatsPerByte: number | null;
  valLoss: number | null;
  valNatsPerByte: number | null;
  createdMs: number;
};

/** An entry of `GET /v1/runs`. */
export type RunSummary = {
  run: string;
  /** As in `RunStatus`. */
  name: string | null;
  /** Name of its dataset. */
  dataset: string;
  /** Whether its state is final. */
  ended: boolean;
  createdMs: number;
};

/** Per request. */
export const MAX_HOSTED_TRAINERS = 16;

/** Start hosted trainers, or issue a join token. */
export type TrainersRequest = { count: number } | { join: true };

/** The answer of `POST /v1/runs/:run/trainers`, by request. */
export type TrainersResponse =
  { trainers: string[] } | { token: string; id: string; expiresMs: number };

/** `quarantined`: its results differ from those of others, or among themselves. */
export const AUTHOR_STATES = ["active", "quarantined", "revoked"] as const;

export type AuthorState = (typeof AUTHOR_STATES)[number];

/** A join token without its secret; or one of the owner's trainers in quarantine, which has no token. */
export type JoinToken = {
  id: string;
  issuedMs: number | null;
  expiresMs: number | null;
  state: AuthorState;
};

/** The body of `PATCH /v1/runs/:run`. */
export type StateRequest = { state: "paused" | "running" | "cancelled" };

/** Or this one: the fingerprint that trainers must have; null to take the next trainer's. */
export type FingerprintRequest = { fingerprint: string | null };
