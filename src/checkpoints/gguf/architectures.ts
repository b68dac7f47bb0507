/**
 * The models that become a GGUF, by `model_type`: what llama.cpp calls their tensors, and what it reads of
 * their config.json. What its graph of a model does not compute is refused, not left out.
 */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import type { ModelConfig } from "../../formats/roles/model-config.ts";
import {
  decoderPairs,
  expertPairs,
  headLength,
  Hyperparameters,
  notComputed,
  type Pairs,
  real,
  uint32,
} from "./hyperparameters.ts";
import {
  GEMMA,
  GEMMA2,
  GEMMA3,
  GPT2,
  GPT_OSS,
  llamaNames,
  MAMBA,
  mixtralNames,
  type Names,
  QWEN2,
  QWEN2_MOE,
  QWEN3,
  QWEN3_MOE,
  T5,
} from "./names.ts";
import { freqFactors, ropePairs, slidingBase } from "./rope.ts";

type Architecture = {
  /** `general.architecture`, which stands before its keys. */
  name: string;
  names: (config: Hyperparameters) => Names;
  pairs: (config: Hyperparameters) => Pairs;
  /** Whether its head is its table of tokens where config.json does not say. */
  isTied?: true;
  /** Values that no tensor of the checkpoint has. */
  computed?: (
    config: Hyperparameters,
  ) => { name: string; values: Float32Array } | undefined;
  /** What its head is multiplied by where it is tied. */
  tiedScale?: (config: Hyperparameters) => number;
};

const LLAMA: Architecture = {
  name: "llama",
  names: llamaNames,
  pairs(config) {
    config.require("hidden_act", "silu");
    return [
      ...decoderPairs(config),
      ...ropePairs(config, { withFactors: true }),
    ];
  },
  computed(config) {
    const values = freqFactors(config);
    return values && { name: "rope_freqs.weight", values };
  },
};

const QWEN: Architecture = {
  name: "qwen2",
  names: () => QWEN2,
  pairs(config) {
    config.require("hidden_act", "silu");
    config.require("use_sliding_window", false);
    return [...decoderPairs(config), ...ropePairs(config)];
  },
};

/** `normalizes`: whether the shares of the experts that are taken sum to one, which its graph fixes. */
function qwenOfExperts(
  name: string,
  names: Names,
  normalizes: boolean,
): Architecture {
  return {
    name,
    names: () => names,
    pairs(config) {
      config.require("norm_topk_prob", normalizes);
      config.require("decoder_sparse_step", 1);
      const dense = config.get("mlp_only_layers");
      if (Array.isArray(dense) && dense.length > 0)
        throw notComputed("experts in every layer", shown(dense));
      const shared = config.maybe("shared_expert_intermediate_size");
      return [
        ...QWEN.pairs(config),
        ...expertPairs(config),
        [
          "expert_feed_forward_length",
          uint32(config.number("moe_intermediate_size")),
        ],
        ...(shared === undefined
          ? []
          : ([["expert_shared_feed_forward_length", uint32(shared)]] as const)),
      ];
    },
  };
}

function gemma(
  name: string,
  names: Names,
  more: Architecture["pairs"],
): Architecture {
  return {
    name,
    names: () => names,
    isTied: true,
    pairs(config) {
      config.require("hidden_activation", "gelu_pytorch_tanh");
      return [...decoderPairs(config), ...more(config)];
    },
  };
}

/** Of Gemma 2 and 3: its graph divides by the root of a head's length. */
function slidingPairs(config: Hyperparameters, period: number): Pairs {
  config.require("query_pre_attn_scalar", headLength(config));
  checkLayerTypes(config, period);
  return [
    ["attention.sliding_window", uint32(config.number("sliding_window"))],
  ];
}

/** Every `period`th layer attends to all, the others to a window: llama.cpp knows it by the architecture. */
function checkLayerTypes(config: Hyperparameters, period: number): void {
  const types = config.get("layer_types");
  if (!Array.isArray(types)) return;
  const wrong = types.findIndex(
    (type, i) => (type === "full_attention") !== ((i + 1) % period === 0),
  );
  if (wrong >= 0)
    throw notComputed(
      `full attention in every layer of ${period} that is the last`,
      `${shown(types[wrong])} in layer ${wrong}`,
    );
}

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  gpt2: {
    name: "gpt2",
    names: () => GPT2,
    isTied: true,
    pairs(config) {
      config.require("activation_function", "gelu_new", "gelu_pytorch_tanh");
      config.require("scale_attn_by_inverse_layer_idx", false);
      config.require("scale_attn_weights", true);
      const width = config.number("n_embd");
      return [
        ["block_count", uint32(config.number("n_layer"))],
        ["context_length", uint32(config.number("n_positions", "n_ctx"))],
        ["embedding_length", uint32(width)],
        ["feed_forward_length", uint32(config.maybe("n_inner") ?? 4 * width)],
        ["attention.head_count", uint32(config.number("n_head"))],
        [
          "attention.layer_norm_epsilon",
          real(config.number("layer_norm_epsilon")),
        ],
        ["vocab_size", uint32(config.number("vocab_size"))],
      ];
    },
  },
  llama: LLAMA,
  mistral: LLAMA,
  mixtral: {
    ...LLAMA,
    names: mixtralNames,
    pairs: (config) => [...LLAMA.pairs(config), ...expertPairs(config)],
  },
  qwen2: QWEN,
  qwen3: { ...QWEN, name: "qwen3", names: () => QWEN3 },
  qwen2_moe: qwenOfExperts("qwen2moe", QWEN2_MOE, false),
  qwen3_moe: qwenOfExperts("qwen3moe", QWEN3_MOE, true),
  gemma: gemma("gemma", GEMMA, (config) => ropePairs(config)),
  gemma2: gemma("gemma2", GEMMA2, (config) => [
    ...ropePairs(config),
    ...slidingPairs(config, 2),
    ["attn_logit_softcapping", real(config.number("attn_logit_softcapping"))],
    ["final_logit_softcapping", real(config.number("final_logit_softcapping"))],
  ]),
  gemma3_text: gemma("gemma3", GEMMA3, (config) => {
    config.require("attn_logit_softcapping");
    config.require("final_logit_softcapping");
    const sliding = slidingBase(config);
    return [
      ...ropePairs(config, { of: "full_attention" }),
      ...slidingPairs(config, 6),
      ...(sliding === undefined
        ? []
        : ([["rope.freq_base_swa", real(sliding)]] as const)),
    ];
  }),
  gpt_oss: {
    name: "gpt-oss",
    names: () => GPT_OSS,
    pairs(config) {
      checkLayerTypes(config, 2);
      return [
        ...decoderPairs(config),
        ...ropePairs(config),
        ...expertPairs(config),
        ["attention.sliding_window", uint32(config.number("sliding_window"))],
        [
          "expert_feed_forward_length",
          uint32(config.number("intermediate_size")),
        ],
      ];
    },
  },
  mamba: {
    name: "mamba",
    names: () => MAMBA,
    isTied: true,
    pairs(config) {
      config.require("hidden_act", "silu");
      const width = config.number("hidden_size", "d_model");
      config.require("intermediate_size", 2 * width);
      const rank = config.maybe("time_step_rank") ?? Math.ceil(width / 16);
      return [
        ["block_count", uint32(config.number("num_hidden_layers", "n_layer"))],
        // It has no positions; llama.cpp's converter writes the same.
        ["context_length", uint32(2 ** 20)],
        ["embedding_length", uint32(width)],
        ["feed_forward_length", uint32(0)],
        ["attention.head_count", uint32(0)],
        [
          "attention.layer_norm_rms_epsilon",
          real(config.number("layer_norm_epsilon")),
        ],
        ["ssm.conv_kernel", uint32(config.number("conv_kernel"))],
        ["ssm.inner_size", uint32(2 * width)],
        ["ssm.state_size", uint32(config.number("state_size"))],
        ["ssm.time_step_rank", uint32(rank)],
        ["vocab_size", uint32(config.number("vocab_size"))],
      ];
    },
  },
  t5: {
    name: "t5",
    names: () => T5,
    isTied: true,
    // transformers scales what a tied head reads; llama.cpp does not.
    tiedScale: (config) => 1 / Math.sqrt(config.number("d_model")),
    pairs(config) {
      config.require("feed_forward_proj", "relu", "gated-gelu");
      const epsilon = real(config.number("layer_norm_epsilon"));
      const blocks = config.number("num_layers");
      return [
        ["block_count", uint32(blocks)],
        [
          "decoder_block_count",
          uint32(config.maybe("num_decoder_layers") ?? blocks),
        ],
        ["context_length", uint32(config.maybe("n_positions") ?? 512)],
        ["embedding_length", uint32(config.number("d_model"))],
        ["feed_forward_length", uint32(config.number("d_ff"))],
        ["attention.head_count", uint32(config.number("num_heads"))],
        ["attention.key_length", uint32(config.number("d_kv"))],
        ["attention.value_length", uint32(config.number("d_kv"))],
        [
          "attention.relative_buckets_count",
          uint32(config.number("relative_attention_num_buckets")),
        ],
        ["attention.layer_norm_epsilon", epsilon],
        ["attention.layer_norm_rms_epsilon", epsilon],
        [
          "decoder_start_token_id",
          uint32(config.maybe("decoder_start_token_id") ?? 0),
        ],
        ["vocab_size", uint32(config.number("vocab_size"))],
      ];
    },
  },
};

/** What is asked of a model's architecture, by its config. */
export type GgufModel = {
  name: string;
  names: Names;
  pairs: Pairs;
  computed: { name: string; values: Float32Array } | undefined;
  isTied: boolean;
  /** What a tied head's copy is multiplied by; undefined where the table of tokens serves as it is. */
  tiedScale: number | undefined;
};

/** Errors: `invalid_option` for a model that is not known, or not as it is; `malformed_body` */
export function ggufModel(config: ModelConfig | undefined): GgufModel {
  const type = config?.model_type;
  if (typeof type !== "string" || !Object.hasOwn(ARCHITECTURES, type))
    throw new AppError(
      "invalid_option",
      `Expected a config.json with \`model_type\` ${Object.keys(ARCHITECTURES).join(", ")} for llama.cpp, got ${type === undefined ? "none" : shown(type)}`,
    );
  const architecture = ARCHITECTURES[type]!;
  const hyper = new Hyperparameters(config!);
  const told = hyper.get("tie_word_embeddings");
  const isTied =
    typeof told === "boolean" ? told : architecture.isTied === true;
  return {
    name: architecture.name,
    names: architecture.names(hyper),
    pairs: architecture.pairs(hyper),
    computed: architecture.computed?.(hyper),
    isTied,
    tiedScale: isTied ? architecture.tiedScale?.(hyper) : undefined,
  };
}
