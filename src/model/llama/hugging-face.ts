/** A shape as transformers' config.json of a Llama, a Mistral or a Qwen3 has it, and back. */
import { shown } from "../../api/option-kinds.ts";
import type { LlamaShape } from "../../api/run-config.ts";
import { invalidConfig } from "../shape-checks.ts";

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

export function configOf(shape: LlamaShape): Record<string, unknown> {
  const sizes = Object.entries(SIZES).map(([size, key]) => [
    key,
    shape[size as keyof typeof SIZES],
  ]);
  return {
    architectures: [shape.headNorm ? "Qwen3ForCausalLM" : "LlamaForCausalLM"],
    model_type: shape.headNorm ? "qwen3" : "llama",
    ...(Object.fromEntries(sizes) as Record<string, number>),
    num_key_value_heads: shape.groups,
    head_dim: shape.headWidth,
    hidden_act: "silu",
    rms_norm_eps: shape.epsilon,
    // As transformers has it from its version 5 on, and before.
    rope_parameters: { rope_theta: shape.ropeBase, rope_type: "default" },
    rope_theta: shape.ropeBase,
    attention_bias: false,
    ...(shape.headNorm ? { use_sliding_window: false } : { mlp_bias: false }),
    tie_word_embeddings: shape.tied,
    dtype: "float32",
    // No token of a text of bytes or their pairs begins or ends it.
    bos_token_id: null,
    eos_token_id: null,
  };
}

/** Errors: `invalid_config` for a model that is computed otherwise */
export function shapeOf(config: Config): LlamaShape {
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
  const { layers, width, heads, hidden, context, vocabulary } = sizes;
  const shape: LlamaShape = {
    arch: "llama",
    layers,
    width,
    heads,
    groups: size("num_key_value_heads", heads),
    headWidth: size("head_dim", width / heads),
    hidden,
    context,
    vocabulary,
    ropeBase: ropeBase(config),
    epsilon: positive(config, "rms_norm_eps", 1e-6),
    tied: config.tie_word_embeddings === true,
    headNorm: config.model_type === "qwen3",
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

function unlike(expected: string, got: unknown) {
  return invalidConfig(`config.json of a Llama with ${expected}`, shown(got));
}
