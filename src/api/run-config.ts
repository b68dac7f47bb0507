/** All that a run is asked to be. Learning rates are as the optimizer applies them. */
import type { PinnedDataset } from "./dataset.ts";
import type { OptimizerConfig } from "./optimizer.ts";
import type { Recipe } from "./recipe.ts";

/**
 * How a gradient travels. `mxfp4` is 4.25 bits a value (RHT + SR), `mxfp4-eden` 4.375 (RHT + nearest, and a
 * factor a segment: half the squared error), `bf16` is SR.
 */
export const WIRE_DTYPES = ["mxfp4", "mxfp4-eden", "bf16", "f32"] as const;

export type WireDtype = (typeof WIRE_DTYPES)[number];

/** What a model is computed like. */
export const ARCHITECTURES = ["gpt2", "llama"] as const;

export type ArchitectureName = (typeof ARCHITECTURES)[number];

/** Of a model that names none. */
export const DEFAULT_ARCHITECTURE = "gpt2" satisfies ArchitectureName;

/** As shapes and configs name it. */
export function writtenArchitecture(
  name: ArchitectureName | undefined,
): ModelShape["arch"] {
  return name === DEFAULT_ARCHITECTURE ? undefined : name;
}

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

/**
 * How a model whose context was extended slows the turns of its rotary positions, as transformers' `rope_type` of that
 * name does.
 */
export type RopeScaling =
  | { type: "linear"; factor: number }
  | {
      type: "llama3";
      factor: number;
      lowFrequencyFactor: number;
      highFrequencyFactor: number;
      originalContext: number;
    }
  | {
      type: "yarn";
      factor: number;
      betaFast: number;
      betaSlow: number;
      originalContext: number;
      /** Of queries and of keys. */
      attentionFactor: number;
      truncate: boolean;
    }
  /** Of each pair of channels its own: `longrope` with one list for short and long texts. */
  | { type: "factors"; factors: number[] };

/** A Llama, with `headNorm` a Qwen3, with `qkvBias` a Qwen2: RMSNorm, rotary positions, SwiGLU. */
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
  /** Whether queries, keys and values have biases; they have none unless told. */
  qkvBias?: boolean | undefined;
  /** None unless told. */
  ropeScaling?: RopeScaling | undefined;
};

export type ModelShape = Gpt2Shape | LlamaShape;

/** A model, as far as it is told; `arch` decides what the rest is. */
export type ModelRequest = { arch?: ArchitectureName | undefined } & {
  [Key in keyof Omit<LlamaShape, "arch" | "ropeScaling">]?:
    LlamaShape[Key] | undefined;
};

export type EvaluationConfig = {
  /** Evaluate at step 0, every `interval` steps, and over the whole held-out split at the end. */
  interval: number;
  /** Microbatches of an evaluation before the last one. */
  microbatches: number;
};

/**
 * Everything a run's losses and final parameters depend on; `shards`, `subtree` and `snapshotSteps` change
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
  /** So many neighbouring microbatches are added up in an object of their own before a shard; none unless told. */
  subtree?: number | undefined;
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
  /** What people call it. No result depends on it. */
  name?: string | undefined;
  /** The dataset's name. */
  dataset: string;
  /** Its `vocabulary` is the dataset's, and refused if it is another. */
  model?: ModelRequest | undefined;
  /** A folder of the bucket with a GPT-2, a Llama, a Qwen2 or a Qwen3 of transformers, whose sizes and parameters the model has. */
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
