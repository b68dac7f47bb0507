/**
 * Converts a GGUF's keys to a config.json: what llama.cpp reads, in transformers' terms. Unknown keys that change the
 * computation are refused, not ignored.
 */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import type { ModelConfig } from "../../formats/roles/model-config.ts";
import { GPT2, llamaNames, type Names, QWEN2, QWEN3 } from "../gguf/names.ts";
import { Hyperparameters, MAX_HEAD } from "../gguf/hyperparameters.ts";
import { attentionOf } from "../yarn.ts";
import type { GgufKeys } from "./keys.ts";

/** The config, and the mapping of tensor names. */
export type ToldModel = { config: ModelConfig; names: Names };

/** Known from the tensors. */
export type GgufSizes = {
  /** Rows of the token table. */
  vocabulary: number;
  hasHead: boolean;
  /** Whether the first layer's output of attention, and its MLP, have biases, which no key says. */
  biases: { attention: boolean; mlp: boolean };
  /** The divisor of each channel pair's rotary frequency, from `rope_freqs.weight`. */
  ropeFactors?: readonly number[] | undefined;
};

type Known = {
  keys: readonly string[];
  model(keys: Own, sizes: GgufSizes): ToldModel;
};

/** Keys of every architecture that do not affect the computation. */
const COMMON = ["vocab_size", "tensor_data_layout"];

const GPT2_KEYS = [
  "block_count",
  "context_length",
  "embedding_length",
  "feed_forward_length",
  "attention.head_count",
  "attention.layer_norm_epsilon",
];

const DECODER_KEYS = [
  "block_count",
  "context_length",
  "embedding_length",
  "feed_forward_length",
  "attention.head_count",
  "attention.head_count_kv",
  "attention.key_length",
  "attention.value_length",
  "attention.layer_norm_rms_epsilon",
  "rope.dimension_count",
  "rope.freq_base",
  "rope.scaling.type",
  "rope.scaling.factor",
  "rope.scaling.original_context_length",
  "rope.scaling.attn_factor",
];

const MODELS: Readonly<Record<string, Known>> = {
  gpt2: {
    keys: GPT2_KEYS,
    model: (keys, { vocabulary }) => ({
      names: GPT2,
      config: {
        model_type: "gpt2",
        n_layer: keys.needed("block_count"),
        n_positions: keys.needed("context_length"),
        n_embd: keys.needed("embedding_length"),
        n_inner: keys.needed("feed_forward_length"),
        n_head: keys.needed("attention.head_count"),
        layer_norm_epsilon: asWritten(
          keys.needed("attention.layer_norm_epsilon"),
        ),
        vocab_size: vocabulary,
      },
    }),
  },
  llama: {
    keys: DECODER_KEYS,
    model(keys, sizes) {
      const config = { model_type: "llama", ...decoderConfig(keys, sizes) };
      return { config, names: llamaNames(new Hyperparameters(config)) };
    },
  },
  qwen2: {
    keys: DECODER_KEYS,
    model: (keys, sizes) => ({
      config: { model_type: "qwen2", ...decoderConfig(keys, sizes) },
      names: QWEN2,
    }),
  },
  qwen3: {
    keys: DECODER_KEYS,
    model: (keys, sizes) => ({
      config: { model_type: "qwen3", ...decoderConfig(keys, sizes) },
      names: QWEN3,
    }),
  },
};

/** Errors: `invalid_config` for an unsupported model; `malformed_body` */
export function modelOfGguf(keys: GgufKeys, sizes: GgufSizes): ToldModel {
  const name = keys.text("general.architecture");
  if (name === undefined || !Object.hasOwn(MODELS, name))
    throw new AppError(
      "invalid_config",
      `Expected a GGUF of \`general.architecture\` ${Object.keys(MODELS).join(", ")}, got ${name === undefined ? "none" : shown(name)}`,
    );
  const known = MODELS[name]!;
  const [other] = keys
    .behind(`${name}.`)
    .filter((key) => ![...known.keys, ...COMMON].includes(key));
  if (other !== undefined)
    throw new AppError(
      "invalid_config",
      `Expected a GGUF of a ${name} with the keys ${known.keys.join(", ")} alone, which are computed here, got \`${name}.${other}\``,
    );
  return known.model(new Own(keys, name), sizes);
}

/** Reads the keys with the architecture's prefix. */
class Own {
  readonly #keys: GgufKeys;
  readonly name: string;

  constructor(keys: GgufKeys, name: string) {
    this.#keys = keys;
    this.name = name;
  }

  text(key: string): string | undefined {
    return this.#keys.text(`${this.name}.${key}`);
  }

  number(key: string): number | undefined {
    return this.#keys.number(`${this.name}.${key}`);
  }

  needed(key: string): number {
    return this.#keys.needed(`${this.name}.${key}`);
  }
}

/** The shortest decimal for an f32: 1e-6, not 9.999999974752427e-7. */
function asWritten(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}

/** Config of models with RMS norms and rotary positions. Errors: `invalid_config` for unsupported positions or heads */
function decoderConfig(
  keys: Own,
  { vocabulary, hasHead, biases, ropeFactors }: GgufSizes,
): Record<string, unknown> {
  const width = keys.needed("embedding_length");
  const heads = keys.needed("attention.head_count");
  const headLength = keys.number("attention.key_length") ?? width / heads;
  if (headLength > MAX_HEAD || headLength % 2 !== 0)
    throw notComputed(
      keys,
      `heads of an even number of channels, at most ${MAX_HEAD}`,
      `${headLength}`,
    );
  for (const key of ["attention.value_length", "rope.dimension_count"]) {
    const length = keys.number(key) ?? headLength;
    if (length !== headLength)
      throw notComputed(
        keys,
        `\`${key}\` ${headLength}, as of a head`,
        `${length}`,
      );
  }
  return {
    num_hidden_layers: keys.needed("block_count"),
    max_position_embeddings: keys.needed("context_length"),
    hidden_size: width,
    intermediate_size: keys.needed("feed_forward_length"),
    num_attention_heads: heads,
    num_key_value_heads: keys.number("attention.head_count_kv") ?? heads,
    head_dim: headLength,
    rms_norm_eps: asWritten(keys.needed("attention.layer_norm_rms_epsilon")),
    rope_theta: asWritten(keys.number("rope.freq_base") ?? 10_000),
    ...ropeScaling(keys, ropeFactors),
    vocab_size: vocabulary,
    tie_word_embeddings: !hasHead,
    attention_bias: biases.attention,
    mlp_bias: biases.mlp,
    hidden_act: "silu",
  };
}

/** As transformers has it; nothing of a plain one. Errors: `invalid_config` for one that is computed otherwise */
function ropeScaling(
  keys: Own,
  factors: readonly number[] | undefined,
): { rope_scaling?: Record<string, unknown> } {
  const type = keys.text("rope.scaling.type") ?? "none";
  if (!["none", "linear", "yarn"].includes(type))
    throw notComputed(
      keys,
      "`rope.scaling.type` none, linear or yarn",
      shown(type),
    );
  if (type !== "none" && factors)
    throw notComputed(
      keys,
      "`rope.scaling.type` none beside rope_freqs.weight",
      shown(type),
    );
  const attention = asWritten(keys.number("rope.scaling.attn_factor") ?? 1);
  if (factors)
    return {
      rope_scaling: {
        rope_type: "longrope",
        short_factor: factors,
        long_factor: factors,
        attention_factor: attention,
      },
    };
  if (attention !== 1 && type !== "yarn")
    throw notComputed(
      keys,
      "`rope.scaling.attn_factor` 1 beside neither yarn nor rope_freqs.weight",
      `${attention}`,
    );
  if (type === "none") return {};
  const factor = asWritten(keys.needed("rope.scaling.factor"));
  if (type === "linear") return { rope_scaling: { rope_type: type, factor } };
  return {
    rope_scaling: {
      rope_type: type,
      factor,
      original_max_position_embeddings: keys.needed(
        "rope.scaling.original_context_length",
      ),
      attention_factor: attention * attentionOf(factor),
    },
  };
}

function notComputed({ name }: Own, expected: string, got: string): AppError {
  return new AppError(
    "invalid_config",
    `Expected a GGUF of a ${name} with ${expected}, which is computed here, got ${got}`,
  );
}
