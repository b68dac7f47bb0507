/** Converts a shape to transformers' config.json of a GPT-2, and back. */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import type { Gpt2Shape, ModelSizes } from "../../api/run-config.ts";
import { checkShape } from "./config.ts";

/** Epsilon of the kernels' LayerNorm. */
const EPSILON = 1e-5;

/** Required values of a GPT-2; missing ones have transformers' defaults. */
const FIXED = {
  model_type: "gpt2",
  activation_function: "gelu_new",
  layer_norm_epsilon: EPSILON,
  scale_attn_weights: true,
  scale_attn_by_inverse_layer_idx: false,
  tie_word_embeddings: true,
  add_cross_attention: false,
} as const;

/** Required if present; not written. */
const CAUSAL = { is_causal: true } as const;

/** Alternative names of sizes in transformers. */
const ALIASES: Readonly<Record<string, string>> = {
  n_layer: "num_hidden_layers",
  n_embd: "hidden_size",
  n_head: "num_attention_heads",
  n_positions: "max_position_embeddings",
};

const SIZES = {
  n_layer: "layers",
  n_embd: "width",
  n_head: "heads",
  n_positions: "context",
  vocab_size: "vocabulary",
} as const satisfies Record<string, keyof ModelSizes>;

export function configOf(shape: Gpt2Shape): Record<string, unknown> {
  const sizes = Object.entries(SIZES).map(([key, size]) => [key, shape[size]]);
  return {
    architectures: ["GPT2LMHeadModel"],
    ...FIXED,
    ...(Object.fromEntries(sizes) as Record<string, number>),
    n_inner: null,
    dtype: "float32",
    // Tokens of bytes or byte pairs include no begin or end of text.
    bos_token_id: null,
    eos_token_id: null,
  };
}

/** Errors: `invalid_config` for an unsupported or impossible model */
export function shapeOf(config: Readonly<Record<string, unknown>>): Gpt2Shape {
  for (const [key, value] of Object.entries({ ...FIXED, ...CAUSAL })) {
    const told = config[key];
    if (told === value || (told === undefined && key !== "model_type"))
      continue;
    throw unlike(`\`${key}\` ${shown(value)}`, shown(told));
  }
  const { n_inner: inner } = config;
  const width = sizeOf(config, "n_embd");
  if (inner !== undefined && inner !== null && inner !== 4 * Number(width))
    throw unlike(`\`n_inner\` of four times \`n_embd\``, shown(inner));
  const sizes = Object.entries(SIZES).map(([key, size]) => [
    size,
    sizeOf(config, key),
  ]);
  const shape = Object.fromEntries(sizes) as Gpt2Shape;
  checkShape(shape);
  return shape;
}

/** A size under either of its names. */
function sizeOf(
  config: Readonly<Record<string, unknown>>,
  key: string,
): number {
  const alias = ALIASES[key] ?? key;
  const [own, other] = [config[key], config[alias]];
  if (own !== undefined && other !== undefined && own !== other)
    throw unlike(
      `\`${key}\` and \`${alias}\` the same`,
      `${shown(own)} and ${shown(other)}`,
    );
  const value = own ?? other;
  if (typeof value === "number") return value;
  throw unlike(`a number \`${key}\``, shown(value));
}

function unlike(expected: string, got: string): AppError {
  return new AppError(
    "invalid_config",
    `Expected config.json of a GPT-2 with ${expected}, got ${got}`,
  );
}
