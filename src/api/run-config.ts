/** The configuration of a run. Learning rates are as the optimizer applies them. */
import type { PinnedDataset } from "./dataset.ts";
import type { OptimizerConfig } from "./optimizer.ts";
import type { Recipe } from "./recipe.ts";

/**
 * Dtypes of gradients on the wire. `mxfp4` has 4.25 bits per value (RHT + SR); `mxfp4-eden` 4.375 (RHT + nearest, a
 * factor per segment: half the squared error); `bf16` uses SR.
 */
export const WIRE_DTYPES = ["mxfp4", "mxfp4-eden", "bf16", "f32"] as const;

export type WireDtype = (typeof WIRE_DTYPES)[number];

export const ARCHITECTURES = ["gpt2", "llama"] as const;

export type ArchitectureName = (typeof ARCHITECTURES)[number];

/** For a shape without `arch`. */
export const DEFAULT_ARCHITECTURE = "gpt2" satisfies ArchitectureName;

/** `arch` as shapes and configs store it. */
export function writtenArchitecture(
  name: ArchitectureName | undefined,
): ModelShape["arch"] {
  return name === DEFAULT_ARCHITECTURE ? undefined : name;
}

/** Sizes that every model has. */
export type ModelSizes = {
  layers: number;
  /** Channels, C. */
  width: number;
  heads: number;
  /** Tokens per sequence, T. */
  context: number;
  /** Token ids are 0 … vocabulary − 1. */
  vocabulary: number;
};

/** GPT-2: pre-LN, learned positions, tanh-GELU, tied head, biases. Its `arch` is not stored. */
export type Gpt2Shape = ModelSizes & { arch?: undefined };

/**
 * How the rotary frequencies of a model with extended context are scaled, as by transformers' `rope_type` of the same
 * name.
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
      /** Factor of queries and keys. */
      attentionFactor: number;
      truncate: boolean;
    }
  /** A factor per pair of channels: `longrope` whose lists for short and long texts are equal. */
  | {
      type: "factors";
      factors: number[];
      /** Of queries and keys; default 1. */
      attentionFactor?: number | undefined;
    };

/** Llama, Qwen3 (with `headNorm`) or Qwen2 (with `qkvBias` alone): RMSNorm, rotary positions, SwiGLU. */
export type LlamaShape = ModelSizes & {
  arch: "llama";
  /** Number of key-value heads. */
  groups: number;
  headWidth: number;
  /** Width of the gated MLP. */
  hidden: number;
  ropeBase: number;
  /** Added to the mean square in RMSNorm. */
  epsilon: number;
  /** Whether the output head is the token embedding. */
  tied: boolean;
  /** Whether queries and keys are normalized per head. */
  headNorm: boolean;
  /** Whether queries, keys and values have biases; default false. */
  qkvBias?: boolean | undefined;
  /** Whether the attention output has a bias too, as with `attention_bias` of Llama and Qwen3; default false. */
  outBias?: boolean | undefined;
  /** Whether gate, up and down have biases, as with `mlp_bias` of Llama; default false. */
  mlpBias?: boolean | undefined;
  /** Default none. */
  ropeScaling?: RopeScaling | undefined;
};

export type ModelShape = Gpt2Shape | LlamaShape;

/** A partial model; `arch` determines the defaults. */
export type ModelRequest = { arch?: ArchitectureName | undefined } & {
  [
    Key in keyof Omit<
      LlamaShape,
      "arch" | "outBias" | "mlpBias" | "ropeScaling"
    >
  ]?: LlamaShape[Key] | undefined;
};

export type EvaluationConfig = {
  /** Evaluate at step 0, every `interval` steps, and on the whole held-out split at the end. */
  interval: number;
  /** Microbatches of each evaluation before the last. */
  microbatches: number;
};

/**
 * Everything that a run's losses and final parameters depend on. The exceptions: `shards`, `subtree` and
 * `snapshotSteps` determine where and how often bytes are stored, `verify` and `redundancy` how many trainers compute
 * them.
 */
export type RunConfig = {
  dataset: PinnedDataset;
  model: ModelShape;
  /** Initial parameters; random without it. */
  from?: PinnedModel | undefined;
  recipe: Recipe;
  gradientDtype: WireDtype;
  seed: number;
  steps: number;
  /** Microbatches per step, M. */
  microbatches: number;
  /** Sequences per microbatch, B. */
  sequences: number;
  optimizer: OptimizerConfig;
  evaluation: EvaluationConfig;
  shards: number;
  snapshotSteps: number;
  /** Number of neighbouring microbatches whose gradients a separate object adds up before a shard; default none. */
  subtree?: number | undefined;
  /** Fraction of microbatches, from 0 to 1, that a second author computes before the commit; default 0. */
  verify?: number | undefined;
  /** Number of authors that compute each microbatch; default 1. */
  redundancy?: number | undefined;
};

/** A model in a folder of the bucket, with a digest of its files' contents. */
export type PinnedModel = {
  folder: string;
  digest: string;
  /** If the run continues more than the parameters. */
  resumed?: Resumed | undefined;
};

/** The state of a checkpoint with `state=full`, from which a run continues. */
export type Resumed = {
  step: number;
  /** Trained on so far. */
  tokens: number;
  /**
   * The origin named in the run's checkpoints: that of the previous run if the config is the same, since the result has
   * the same bytes; else the checkpoint.
   */
  origin: string | null;
  /** Digest of the results of all previous steps, if the config is the same; the run's own continue it. */
  results?: string | undefined;
};

/** The body of `POST /v1/runs`; everything but the dataset's name has a default. */
export type RunRequest = {
  /** An id chosen by the caller, which makes the request idempotent. */
  run?: string | undefined;
  /** For display; no result depends on it. */
  name?: string | undefined;
  /** Name of a dataset. */
  dataset: string;
  /** `vocabulary` must be the dataset's. */
  model?: ModelRequest | undefined;
  /** Folder of the bucket with a GPT-2, Llama, Qwen2 or Qwen3 of transformers, whose sizes and parameters are used. */
  from?: string | undefined;
  /**
   * Continue with the optimizer's state and the step, too: `from` is a checkpoint of `state=full`. Missing values are
   * those of the checkpoint's run.
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
