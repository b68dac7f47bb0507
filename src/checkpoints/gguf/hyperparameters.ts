/** Reads a model's config.json, with errors for missing values and those that llama.cpp does not support. */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import type { GgufValue } from "../../formats/containers/gguf-writer.ts";
import { isObject } from "../../api/json.ts";
import type { ModelConfig } from "../../formats/roles/model-config.ts";

/** Key-value pairs of a GGUF, without the architecture's prefix. */
export type Pairs = readonly (readonly [key: string, value: GgufValue])[];

export class Hyperparameters {
  readonly #config: ModelConfig;

  constructor(config: ModelConfig) {
    this.#config = config;
  }

  /** The first of these keys with a number. */
  maybe(...keys: string[]): number | undefined {
    const values = keys.map((key) => this.#config[key]);
    return values.find((value) => typeof value === "number");
  }

  /** Errors: `malformed_body` if none has a number */
  number(...keys: string[]): number {
    const found = this.maybe(...keys);
    if (found !== undefined) return found;
    throw new AppError(
      "malformed_body",
      `Expected config.json to have a number \`${keys[0]}\`, got ${shown(this.#config[keys[0]!])}`,
    );
  }

  get(key: string): unknown {
    return this.#config[key];
  }

  object(key: string): ModelConfig | undefined {
    const value = this.#config[key];
    return isObject(value) ? value : undefined;
  }

  /** Errors: `invalid_option` if the key has a value that llama.cpp does not support */
  require(key: string, ...values: unknown[]): void {
    const value = this.#config[key];
    if (value === undefined || value === null || values.includes(value)) return;
    throw notComputed(
      `\`${key}\` ${values.map(shown).join(" or ")}`,
      shown(value),
    );
  }
}

export function notComputed(expected: string, got: string): AppError {
  return new AppError(
    "invalid_option",
    `Expected ${expected}, which llama.cpp computes, got ${got}`,
  );
}

export const uint32 = (value: number): GgufValue => ({ uint32: value });
export const real = (value: number): GgufValue => ({ float32: value });

/** Limit of an attention head's channels; tables of this length are built, and a config may contain any number. */
export const MAX_HEAD = 4096;

/** Channels of an attention head, which are rotated in pairs. Errors: `malformed_body` */
export function headLength(config: Hyperparameters): number {
  const length =
    config.maybe("head_dim") ??
    config.number("hidden_size") / config.number("num_attention_heads");
  if (length % 2 === 0 && length > 0 && length <= MAX_HEAD) return length;
  throw new AppError(
    "malformed_body",
    `Expected config.json to have attention heads of an even length from 2 to ${MAX_HEAD}, got ${length}`,
  );
}

/** For a decoder with RMSNorm and rotary positions. */
export function decoderPairs(config: Hyperparameters): Pairs {
  const heads = config.number("num_attention_heads");
  const length = headLength(config);
  return [
    ["block_count", uint32(config.number("num_hidden_layers"))],
    ["context_length", uint32(config.number("max_position_embeddings"))],
    ["embedding_length", uint32(config.number("hidden_size"))],
    ["feed_forward_length", uint32(config.number("intermediate_size"))],
    ["attention.head_count", uint32(heads)],
    [
      "attention.head_count_kv",
      uint32(config.maybe("num_key_value_heads") ?? heads),
    ],
    ["attention.key_length", uint32(length)],
    ["attention.value_length", uint32(length)],
    ["attention.layer_norm_rms_epsilon", real(config.number("rms_norm_eps"))],
    ["rope.dimension_count", uint32(length)],
    ["vocab_size", uint32(config.number("vocab_size"))],
  ];
}

/** For layers with experts. */
export function expertPairs(config: Hyperparameters): Pairs {
  return [
    ["expert_count", uint32(config.number("num_local_experts", "num_experts"))],
    ["expert_used_count", uint32(config.number("num_experts_per_tok"))],
  ];
}
