/**
 * The JSON of the HTTP contract. Losses are in nats per token; beside each stands the same in nats per
 * byte of the text that the tokens cover, by which runs of different tokenizers compare. Times are in
 * milliseconds since the epoch, learning rates as the optimizer applies them. A loss that is not finite
 * travels as `null`.
 */
import type { OptimizerConfig } from "./optimizer.ts";
import type { Recipe } from "./recipe.ts";

/**
 * How a gradient travels. `mxfp4` is 4.25 bits a value (RHT + SR), `mxfp4-eden` 4.375 (RHT + nearest, and a
 * factor a segment: half the squared error), `bf16` is SR.
 */
export const WIRE_DTYPES = ["mxfp4", "mxfp4-eden", "bf16", "f32"] as const;
export type WireDtype = (typeof WIRE_DTYPES)[number];

/** What a model is computed like; GPT-2 unless told. */
export const ARCHITECTURES = ["gpt2", "llama"] as const;
export type ArchitectureName = (typeof ARCHITECTURES)[number];

/** What every model has. */
export type ModelSizes = {
  layers: number;
  /** Channels, C. */
  width: number;
  heads: number;
  /** Tokens of one sequence, T. */
  context: number;
  /** Token ids are 0 … vocabulary − 1. */
  vocabulary: number;
};

/** A GPT-2: pre-LN, learned positions, tanh-GELU, tied head, biases. Its `arch` is not written down. */
export type Gpt2Shape = ModelSizes & { arch?: undefined };

/** A Llama, or with `headNorm` a Qwen3: RMSNorm, rotary positions, SwiGLU, no biases. */
export type LlamaShape = ModelSizes & {
  arch: "llama";
  /** Of heads that share keys and values. */
  groups: number;
  headWidth: number;
  /** Channels of the gated layer. */
  hidden: number;
  ropeBase: number;
  /** What norms add to the mean square. */
  epsilon: number;
  /** Whether the head is the table of tokens. */
  tied: boolean;
  /** Whether queries and keys are normed, head by head. */
  headNorm: boolean;
};

export type ModelShape = Gpt2Shape | LlamaShape;

/** A model, as far as it is told; `arch` decides what the rest is. */
export type ModelRequest = { arch?: ArchitectureName | undefined } & {
  [Key in keyof Omit<LlamaShape, "arch">]?: LlamaShape[Key] | undefined;
};

/** What makes tokens of a text: each byte is one, or byte pairs that the text has taught. */
export const TOKENIZERS = ["byte", "bpe"] as const;
export type TokenizerName = (typeof TOKENIZERS)[number];

/** How many ids `bpe` may be asked for. */
export const BPE_VOCABULARY = { least: 512, most: 16_384, default: 2048 };

/** What a corpus is to a run. `tokens` and `digest` name its content, so a run that holds them is pinned. */
export type PinnedDataset = {
  name: string;
  /** Lower-case hexadecimal SHA-256 of the token bytes. */
  digest: string;
  tokens: number;
  tokenizer: TokenizerName;
  vocabulary: number;
};

/** A tokenizer is trained, then the text becomes tokens; only then can runs use it. */
export const DATASET_STATES = ["training", "ready", "failed"] as const;
export type DatasetState = (typeof DATASET_STATES)[number];

/** A corpus. Of one that is not ready, `digest` and `tokens` are null. */
export type Dataset = Omit<PinnedDataset, "digest" | "tokens"> & {
  digest: string | null;
  tokens: number | null;
  state: DatasetState;
  /** Of the text. */
  bytes: number;
  /** SHA-256 of the text. */
  textDigest: string;
  /** The share of the work that is done, from 0 to 1. */
  progress: number;
  /** Why it has failed. */
  error: { code: string; detail: string } | null;
};

/** How a text becomes a dataset. */
export type DatasetOptions = {
  tokenizer?: TokenizerName | undefined;
  /** Ids of `bpe`: fewer, where no pair is left in the text that occurs twice. */
  vocabulary?: number | undefined;
  /** A folder with the checkpoint of a run, whose `bpe` it is. */
  from?: string | undefined;
};

/** A page of the datasets, by name; `next` is the `cursor` of the next one, null on the last. */
export type DatasetPage = { datasets: Dataset[]; next: string | null };

export type EvaluationConfig = {
  /** Evaluate at step 0, every `interval` steps, and over the whole held-out split at the end. */
  interval: number;
  /** Microbatches of an evaluation before the last one. */
  microbatches: number;
};

/**
 * Everything a run's losses and final parameters depend on; `shards` and `snapshotSteps` change
 * where and how often bytes are kept, `verify` and `redundancy` by how many they are computed, never which.
 */
export type RunConfig = {
  dataset: PinnedDataset;
  model: ModelShape;
  /** Whose parameters it goes on from; without it they are drawn. */
  from?: PinnedModel | undefined;
  recipe: Recipe;
  gradientDtype: WireDtype;
  seed: number;
  steps: number;
  /** Microbatches of one step, M. */
  microbatches: number;
  /** Sequences of one microbatch, B. */
  sequences: number;
  optimizer: OptimizerConfig;
  evaluation: EvaluationConfig;
  shards: number;
  snapshotSteps: number;
  /** The share of microbatches, from 0 to 1, that a second author computes before the commit; 0 unless told. */
  verify?: number | undefined;
  /** So many authors compute each microbatch; 1 unless told. */
  redundancy?: number | undefined;
};

/** A model in a folder of the bucket, and a digest of what its files hold. */
export type PinnedModel = {
  folder: string;
  digest: string;
  /** Of a run that goes on with more than parameters. */
  resumed?: Resumed | undefined;
};

/** Where a checkpoint with all of its run's state was, and so where the run that goes on begins. */
export type Resumed = {
  step: number;
  /** Trained on so far. */
  tokens: number;
  /**
   * The model that the checkpoints of the run tell of: what it began from, where its config is that of the
   * run before, since it ends in the same bytes; else the checkpoint.
   */
  origin: string | null;
  /** What the steps before came to, where its config is that of the run before: its own follow them. */
  results?: string | undefined;
};

/** What `POST /v1/runs` takes; everything but the dataset's name has a default. */
export type RunRequest = {
  /** An id of the caller's choice, so that repeating the request creates one run. */
  run?: string | undefined;
  /** Its name. */
  dataset: string;
  /** Its `vocabulary` is the dataset's, and refused if it is another. */
  model?: ModelRequest | undefined;
  /** A folder of the bucket with a GPT-2, a Llama or a Qwen3 of transformers, whose sizes and parameters the model has. */
  from?: string | undefined;
  /**
   * Go on with the optimizer's state and the step too: `from` is a checkpoint of `state=full`. What is not told is
   * as the checkpoint's run had it.
   */
  resume?: boolean | undefined;
  optimizer?: Partial<OptimizerConfig> | undefined;
  evaluation?: Partial<EvaluationConfig> | undefined;
} & {
  [
    Key in Exclude<
      keyof RunConfig,
      "dataset" | "model" | "from" | "optimizer" | "evaluation"
    >
  ]?: RunConfig[Key] | undefined;
};

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
  /** Name of its dataset. */
  dataset: string;
  /** Whether it has reached a state that it does not leave. */
  ended: boolean;
  createdMs: number;
};

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
};

export type LeaseRequest = {
  trainer: string;
  /** New at each start of the trainer; a new one frees what the old one still holds. */
  bootId: string;
  /** What the trainer's arithmetic depends on; a run takes one kind only. */
  fingerprint: string;
  host?: HostKind | undefined;
};

/** `lease` is null when there was none within the wait; `state` says whether to ask again. */
export type LeaseResponse = { state: RunState; lease: Lease | null };

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
  /** Until every shard had acknowledged its gradient. */
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
  | { type: "rewind"; step: number }
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

/** What answers: `GET /version`. */
export type ServiceVersion = {
  /** Of the package. */
  version: string;
  /** Of the frames that trainers and shards exchange. */
  frame: number;
  /** Of the choices that quantized files record. */
  record: string;
  /** What the bytes of a run depend on besides its config; its trainers share it. */
  fingerprint: string;
  kernels: { arithmetic: number; fusesMultiplyAdd: boolean };
  mode: "local" | "deployed";
  /** Who is let in: all, who has a token, or nobody since no secret is set. */
  access: "all" | "token" | "nobody";
};

/** How a text is written, and from what weights. */
export type GenerateRequest = {
  prompt: string;
  maxTokens?: number | undefined;
  weights?: "f32" | "mxfp4" | undefined;
  temperature?: number | undefined;
  topK?: number | undefined;
  topP?: number | undefined;
  repetition?: number | undefined;
  stop?: string[] | undefined;
  seed?: number | undefined;
};

/** Why a text ended, and of how many tokens it and its prompt are. */
export type TextEnding = {
  reason: "length" | "stop";
  promptTokens: number;
  tokens: number;
};

/** What the stream of events tells: a piece of text, or the end. */
export type TextEvent = { text: string } | TextEnding;
