/** Converts a shape to transformers' config.json of a Llama, Mistral, Qwen2 or Qwen3, and back. */
import { shown } from "../../api/option-kinds.ts";
import type { LlamaShape } from "../../api/run-config.ts";
import type { FusedLayers } from "../../checkpoints/fused-tensors.ts";
import { fusedLayers } from "./parameters.ts";
import { windowsOf } from "./windows.ts";
import {
  positiveIn,
  ropeConfig,
  ropeOf,
  rotaryWidthOf,
  unlike,
} from "./rope-config.ts";

type Config = Readonly<Record<string, unknown>>;

const SIZES = {
  layers: "num_hidden_layers",
  width: "hidden_size",
  heads: "num_attention_heads",
  hidden: "intermediate_size",
  context: "max_position_embeddings",
  vocabulary: "vocab_size",
} as const satisfies Partial<Record<keyof LlamaShape, string>>;

/** Required values, if present. */
const FIXED: Record<string, readonly unknown[]> = {
  hidden_act: ["silu", "swish"],
  is_causal: [true],
};

/** The classes that have these biases. */
const BIASES: Record<string, readonly string[]> = {
  attention_bias: ["llama", "qwen3"],
  mlp_bias: ["llama"],
};

/** Defaults of transformers for missing keys; an explicit null is not missing. */
const UNTOLD: Record<string, Record<string, number | undefined>> = {
  mistral: { num_key_value_heads: 8 },
  qwen2: { num_key_value_heads: 32 },
  qwen3: { num_key_value_heads: 32, head_dim: 128 },
};

export function configOf(shape: LlamaShape): Record<string, unknown> {
  const sizes = Object.entries(SIZES).map(([size, key]) => [
    key,
    shape[size as keyof typeof SIZES],
  ]);
  const kind = kindOf(shape);
  return {
    architectures: [kind.architecture],
    model_type: kind.type,
    ...(Object.fromEntries(sizes) as Record<string, number>),
    num_key_value_heads: shape.groups,
    head_dim: shape.headWidth,
    hidden_act: "silu",
    rms_norm_eps: shape.epsilon,
    ...ropeConfig(shape),
    ...kind.rest,
    tie_word_embeddings: shape.tied,
    dtype: "float32",
    // Tokens of bytes or byte pairs include no begin or end of text.
    bos_token_id: null,
    eos_token_id: null,
  };
}

/** From `attention_bias` and `mlp_bias`, for classes that have them. Errors: `invalid_config` */
function biasesOf(
  config: Config,
): Pick<LlamaShape, "qkvBias" | "outBias" | "mlpBias"> {
  const type = String(config.model_type);
  for (const [key, types] of Object.entries(BIASES))
    checkOneOf(config, key, types.includes(type) ? [false, true] : [false]);
  const { attention_bias: attention, mlp_bias: mlp } = config;
  return {
    ...((attention === true || type === "qwen2") && { qkvBias: true }),
    ...(attention === true && { outBias: true }),
    ...(mlp === true && { mlpBias: true }),
  };
}

/** Llama's class requires a width that is a multiple of its heads; Mistral's, otherwise the same, does not. */
function kindOf(shape: LlamaShape) {
  const { headNorm, qkvBias, outBias, mlpBias, width, heads } = shape;
  const attention_bias = outBias === true;
  if (qkvBias && !outBias)
    return {
      architecture: "Qwen2ForCausalLM",
      type: "qwen2",
      rest: { use_sliding_window: false },
    };
  if (headNorm)
    return {
      architecture: "Qwen3ForCausalLM",
      type: "qwen3",
      rest: { attention_bias, use_sliding_window: false },
    };
  if (width % heads === 0)
    return {
      architecture: "LlamaForCausalLM",
      type: "llama",
      rest: { attention_bias, mlp_bias: mlpBias === true },
    };
  const rest = { sliding_window: null };
  return { architecture: "MistralForCausalLM", type: "mistral", rest };
}

/** Errors: `invalid_config` for an unsupported model */
export function shapeOf(config: Config): LlamaShape {
  for (const [key, values] of Object.entries(FIXED))
    checkOneOf(config, key, values);
  checkOneOf(config, "tie_word_embeddings", [true, false]);
  const size = (key: string, fallback?: number): number => {
    const value = orUntold(config, key) ?? fallback;
    if (typeof value === "number" && Number.isSafeInteger(value) && value > 0)
      return value;
    throw unlike(`a whole number \`${key}\` from 1`, value);
  };
  const sizes = Object.fromEntries(
    Object.entries(SIZES).map(([name, key]) => [name, size(key)]),
  ) as Record<keyof typeof SIZES, number>;
  const { layers, width, heads, hidden, context, vocabulary } = sizes;
  const headWidth = size("head_dim", width / heads);
  const rope = ropeOf(config, context, headWidth);
  const shape: LlamaShape = {
    arch: "llama",
    layers,
    width,
    heads,
    groups: size("num_key_value_heads", heads),
    headWidth,
    hidden,
    context: rope.context ?? context,
    vocabulary,
    ropeBase: rope.ropeBase,
    epsilon: positiveIn(
      config,
      "rms_norm_eps",
      config.model_type === "phi3" ? 1e-5 : 1e-6,
    ),
    tied: config.tie_word_embeddings === true,
    headNorm: config.model_type === "qwen3",
    ...biasesOf(config),
    ...(rope.ropeScaling && { ropeScaling: rope.ropeScaling }),
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

/** The layers that a directory of this class stores as one. */
export function fusedIn(config: Config): FusedLayers {
  return config.model_type === "phi3" ? fusedLayers(shapeOf(config)) : {};
}

/**
 * The shape for training from such a model. Training has full attention, so the context is limited to the shortest
 * sliding window, within which both are equal. Errors: as `shapeOf`
 */
export function trainedShape(config: Config): LlamaShape {
  const shape = shapeOf(config);
  const turning = rotaryWidthOf(config, shape.headWidth);
  if (turning !== shape.headWidth)
    throw unlike(
      "`partial_rotary_factor` null or 1 to train",
      turning / shape.headWidth,
    );
  const windows = windowsOf(config, shape.layers);
  return { ...shape, context: Math.min(shape.context, ...windows) };
}

function checkOneOf(
  config: Config,
  key: string,
  values: readonly unknown[],
): void {
  const told = config[key];
  if (told === undefined || values.includes(told)) return;
  throw unlike(`\`${key}\` ${values.map(shown).join(" or ")}`, told);
}

function orUntold(config: Config, key: string): unknown {
  const told = config[key];
  return told === undefined ? UNTOLD[String(config.model_type)]?.[key] : told;
}
