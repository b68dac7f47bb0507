/**
 * What a run tells of its steps. Losses are in nats per token; beside each stands the same in nats per byte of the
 * text that the tokens cover, by which runs of different tokenizers compare. Times are in milliseconds since the
 * epoch. A loss that is not finite travels as `null`.
 */
import type { LeaseKind, StepPhases } from "./lease.ts";
import type { AuthorState, RunState } from "./run-status.ts";

/** One step of a run's history. */
export type StepMetrics = {
  step: number;
  trainLoss: number | null;
  /** Global L2 norm before clipping. */
  gradNorm: number | null;
  /** Of matrices. */
  learningRate: number;
  /** Tokens trained on so far. */
  tokens: number;
  /** Of this step's evaluation, where it had one. */
  valLoss: number | null;
  committedMs: number;
  trainNatsPerByte: number | null;
  valNatsPerByte: number | null;
  /** SHA-256 of what all steps so far came to, whoever computed it; of a step that was committed. */
  results: string | null;
  /** The same with each gradient's digests and whose they are. */
  chain: string | null;
  /** Of a step that was committed. */
  phases: StepPhases | null;
};

/** What a microbatch came to: sums, the SHA-256 of the frame that each shard was pushed, and all who told so. */
export type AgreedResult = {
  index: number;
  lossSum: number | null;
  tokens: number;
  bytes: number;
  digests: string[];
  authors: string[];
};

/** What was told of a step's training, in order of the microbatch; of one that is not committed, so far. */
export type StepRecord = {
  step: number;
  microbatches: AgreedResult[];
  /** What the digests of the metrics are made of (docs/trust.md); null of a step that is not committed. */
  commit: {
    gradNorm: number;
    clipCoefficient: number;
    learningRates: { matrix: number; embedding: number; vector: number };
    results: string | null;
    chain: string | null;
    /** Of the step before; of step 0, of the config. */
    before: { results: string; chain: string };
  } | null;
};

/** What `GET /v1/runs/:run/events` streams; `id` grows by one. */
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
  /** An author told of a microbatch what others did not, or it itself did not before. */
  | {
      type: "conflict";
      kind: LeaseKind;
      step: number;
      microbatch: number;
      author: string;
    }
  | { type: "fingerprint"; fingerprint: string | null }
  /** The run has gone back: what was told of this step and those after it is void. */
  /** Its owner asked for `asked`; the state kept before it is that of `step`. */
  | { type: "rewind"; step: number; asked: number }
  | { type: "author"; author: string; state: AuthorState }
  /** The step needs a result of one more author, and none is there that could tell one. */
  | {
      type: "waiting";
      kind: LeaseKind;
      step: number;
      microbatch: number;
      reason: "undecided" | "unverified";
    }
);
