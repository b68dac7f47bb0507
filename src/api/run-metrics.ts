/**
 * The JSON of a run's steps. Losses are in nats per token; also in nats per byte of text, which is comparable between
 * tokenizers. Times are in milliseconds since the epoch. A loss that is not finite is sent as `null`.
 */
import type { LeaseKind, StepPhases } from "./lease.ts";
import type { AuthorState, RunState } from "./run-status.ts";

/** A step of a run's history. */
export type StepMetrics = {
  step: number;
  trainLoss: number | null;
  /** Global L2 norm before clipping. */
  gradNorm: number | null;
  /** For matrices. */
  learningRate: number;
  /** Tokens trained on so far. */
  tokens: number;
  /** Of this step's evaluation, if any. */
  valLoss: number | null;
  committedMs: number;
  trainNatsPerByte: number | null;
  valNatsPerByte: number | null;
  /** SHA-256 chain over the results of all steps so far, whoever computed them; null until committed. */
  results: string | null;
  /** The same including the digests of each gradient and its authors. */
  chain: string | null;
  /** Null until committed. */
  phases: StepPhases | null;
};

/**
 * The agreed result of a microbatch: sums, the SHA-256 of the frame for each shard, and all authors that reported it.
 */
export type AgreedResult = {
  index: number;
  lossSum: number | null;
  tokens: number;
  bytes: number;
  digests: string[];
  authors: string[];
};

/** The results of a step's training in order of microbatches; partial until committed. */
export type StepRecord = {
  step: number;
  microbatches: AgreedResult[];
  /** The input of the metrics' digests (docs/trust.md); null until committed. */
  commit: {
    gradNorm: number;
    clipCoefficient: number;
    learningRates: { matrix: number; embedding: number; vector: number };
    results: string | null;
    chain: string | null;
    /** Of the previous step; for step 0, of the config. */
    before: { results: string; chain: string };
  } | null;
};

/** The events of `GET /v1/runs/:run/events`; `id` increases by one. */
export type RunEvent = {
  id: number;
  timeMs: number;
} & (
  | { type: "step"; metrics: StepMetrics }
  | {
      type: "evaluation";
      step: number;
      valLoss: number | null;
      valNatsPerByte: number | null;
      tokens: number;
      bytes: number;
    }
  | { type: "state"; state: RunState }
  | {
      type: "trainer";
      trainer: string;
      change: "joined" | "restarted" | "left" | "lost";
    }
  /** An author reported a result that differs from other authors' or from its own earlier one. */
  | {
      type: "conflict";
      kind: LeaseKind;
      step: number;
      microbatch: number;
      author: string;
    }
  | { type: "fingerprint"; fingerprint: string | null }
  /** The run was rewound: events of this step and later ones are void. */
  /** The owner requested step `asked`; `step` is the nearest stored state before it. */
  | { type: "rewind"; step: number; asked: number }
  | { type: "author"; author: string; state: AuthorState }
  /** The step needs the result of another author, and none is available. */
  | {
      type: "waiting";
      kind: LeaseKind;
      step: number;
      microbatch: number;
      reason: "undecided" | "unverified";
    }
);
