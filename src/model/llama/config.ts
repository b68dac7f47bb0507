/** What a decoder is told of a Llama, a Mistral or a Qwen3 by transformers' config.json. */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";

export type LlamaShape = {
  layers: number;
  width: number;
  heads: number;
  /** Of heads that share keys and values. */
  groups: number;
  headWidth: number;
  hidden: number;
  context: number;
  vocabulary: number;
  epsilon: number;
  ropeBase: number;
  /** Whether the head is the table of tokens. */
  isTied: boolean;
  /** Whether queries and keys are normed, head by head. */
  normsHeads: boolean;
};

type Config = Readonly<Record<string, unknown>>;

const SIZES = {
  layers: "num_hidden_layers",
  width: "hidden_size",
  heads: "num_attention_heads",
  hidden: "intermediate_size",
  context: "max_position_embeddings",
  vocabulary: "vocab_size",
} as const satisfies Partial<Record<keyof LlamaShape, string>>;

/** What must be so where it is told, since it is computed so here. */
const FIXED: Record<string, readonly unknown[]> = {
  hidden_act: ["silu"],
  attention_bias: [false],
  mlp_bias: [false],
  sliding_window: [null],
  rope_scaling: [null],
};

/** Errors: `invalid_config` for a model that is computed otherwise */
export function llamaShape(config: Config): LlamaShape {
  const { use_sliding_window: slides } = config;
  for (const [key, values] of Object.entries(FIXED)) {
    const told = config[key];
    // Qwen tells a window that it does not use.
    if (key === "sliding_window" && slides === false) continue;
    if (told === undefined || values.includes(told)) continue;
    throw unlike(`\`${key}\` ${values.map(shown).join(" or ")}`, told);
  }
  const size = (key: string, fallback?: number): number => {
    const value = config[key] ?? fallback;
    if (typeof value === "number" && Number.isSafeInteger(value) && value > 0)
      return value;
    throw unlike(`a whole number \`${key}\` from 1`, value);
  };
  const sizes = Object.fromEntries(
    Object.entries(SIZES).map(([name, key]) => [name, size(key)]),
  ) as Record<keyof typeof SIZES, number>;
  const { heads, width } = sizes;
  const shape: LlamaShape = {
    ...sizes,
    groups: size("num_key_value_heads", heads),
    headWidth: size("head_dim", width / heads),
    epsilon: positive(config, "rms_norm_eps", 1e-6),
    ropeBase: ropeBase(config),
    isTied: config.tie_word_embeddings === true,
    normsHeads: config.model_type === "qwen3",
  };
  if (heads % shape.groups !== 0)
    throw unlike(
      "`num_attention_heads` a multiple of `num_key_value_heads`",
      heads,
    );
  if (shape.headWidth % 2 !== 0)
    throw unlike("an even `head_dim`", shape.headWidth);
  return shape;
}

/** In `rope_parameters`, or beside it as older files have it. Errors: `invalid_config` for other turns than the plain ones */
function ropeBase(config: Config): number {
  const parameters = (config.rope_parameters ?? {}) as Config;
  const { rope_type: type = "default" } = parameters;
  if (type !== "default") throw unlike("`rope_type` default", type);
  const told = "rope_theta" in parameters ? parameters : config;
  return positive(told, "rope_theta", 10_000);
}

function positive(config: Config, key: string, fallback: number): number {
  const value = config[key] ?? fallback;
  if (typeof value === "number" && value > 0 && value < Infinity) return value;
  throw unlike(`\`${key}\` above 0`, value);
}

function unlike(expected: string, got: unknown): AppError {
  return new AppError(
    "invalid_config",
    `Expected config.json of a Llama with ${expected}, got ${shown(got)}`,
  );
}
