/**
 * The models that can be converted to GGUF, by `model_type`: llama.cpp's tensor names and config keys. What llama.cpp
 * does not compute is refused, not dropped.
 */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import type { ModelConfig } from "../../formats/roles/model-config.ts";
import { type GgufArchitecture, checkLayerTypes } from "./architecture.ts";
import { GEMMA_MODELS } from "./gemma.ts";
import {
  decoderPairs,
  expertPairs,
  Hyperparameters,
  type Pairs,
  uint32,
} from "./hyperparameters.ts";
import { GPT_OSS, llamaNames, mixtralNames, type Names } from "./names.ts";
import { QWEN_MODELS } from "./qwen.ts";
import { freqFactors, ropePairs } from "./rope.ts";
import { MODELS_WITHOUT_ROPE } from "./without-rope.ts";

const LLAMA: GgufArchitecture = {
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

const { gpt2, mamba, t5 } = MODELS_WITHOUT_ROPE;

const ARCHITECTURES: Readonly<Record<string, GgufArchitecture>> = {
  gpt2,
  llama: LLAMA,
  mistral: LLAMA,
  mixtral: {
    ...LLAMA,
    names: mixtralNames,
    pairs: (config) => [...LLAMA.pairs(config), ...expertPairs(config)],
  },
  ...QWEN_MODELS,
  ...GEMMA_MODELS,
  gpt_oss: {
    name: "gpt-oss",
    names: () => GPT_OSS,
    pairs(config) {
      checkLayerTypes(config, 2);
      return [
        ...decoderPairs(config),
        // Its bounds are not rounded in transformers (`truncate` false).
        ...ropePairs(config, { isRounded: true }),
        ...expertPairs(config),
        ["attention.sliding_window", uint32(config.number("sliding_window"))],
        [
          "expert_feed_forward_length",
          uint32(config.number("intermediate_size")),
        ],
      ];
    },
  },
  mamba,
  t5,
};

/** A model's conversion, derived from its config. */
export type GgufModel = {
  name: string;
  names: Names;
  pairs: Pairs;
  computed: { name: string; values: Float32Array } | undefined;
  isTied: boolean;
  /** Factor of a tied head's copy; undefined if the token table is used unchanged. */
  tiedScale: number | undefined;
};

/** Errors: `invalid_option` for an unknown model or variant; `malformed_body` */
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
