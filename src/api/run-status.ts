/** Where a run is, who takes part, and what its owner asks of it. Times are in milliseconds since the epoch. */
import type { RunConfig } from "./run-config.ts";

export type RunState =
  "running" | "paused" | "finished" | "cancelled" | "diverged";

/** States that a run does not leave. */
export function hasEnded(state: RunState): boolean {
  return state === "finished" || state === "cancelled" || state === "diverged";
}

/** One shard's range `[start, start + length)` of the flat parameter vector, in elements. */
export type ShardRange = { index: number; start: number; length: number };

export type TrainerStatus = {
  /** Trainers of different authors may have one name. */
  name: string;
  /** A join token's id, or `owner.` and the name of one of the owner's trainers. */
  author: string;
  /** What it computes in, as it tells; null of one that does not. Nobody is believed: nothing depends on it. */
  host: HostKind | null;
  lastSeenMs: number;
  completions: number;
};

/** What a trainer computes in: a Durable Object, a process of Node, a tab. */
export const HOST_KINDS = ["edge", "node", "browser"] as const;

export type HostKind = (typeof HOST_KINDS)[number];

export type RunStatus = {
  run: string;
  /** What people call it; null of one that nobody has named. Several may have one name. */
  name: string | null;
  state: RunState;
  /** Parameters have seen this many updates. */
  step: number;
  config: RunConfig;
  /** What its trainers compute like; null before the first. */
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

/** One line of `GET /v1/runs`. */
export type RunSummary = {
  run: string;
  /** As in its status. */
  name: string | null;
  /** Name of its dataset. */
  dataset: string;
  /** Whether it has reached a state that it does not leave. */
  ended: boolean;
  createdMs: number;
};

/** That one call may start. */
export const MAX_HOSTED_TRAINERS = 16;

/** Start hosted trainers, or issue a token with which others join. */
export type TrainersRequest = { count: number } | { join: true };

/** What `POST /v1/runs/:run/trainers` answers, by what was asked. */
export type TrainersResponse =
  { trainers: string[] } | { token: string; id: string; expiresMs: number };

/** `quarantined`: results that it told differ from those of others, or among themselves. */
export const AUTHOR_STATES = ["active", "quarantined", "revoked"] as const;

export type AuthorState = (typeof AUTHOR_STATES)[number];

/** A join token of a run, without what makes it work; or one of the owner's trainers, which has none, under quarantine. */
export type JoinToken = {
  id: string;
  issuedMs: number | null;
  expiresMs: number | null;
  state: AuthorState;
};

/** What `PATCH /v1/runs/:run` takes. */
export type StateRequest = { state: "paused" | "running" | "cancelled" };

/** Or this: what trainers must compute like, null for what the next one brings. */
export type FingerprintRequest = { fingerprint: string | null };
