/** Qwen2 and Qwen3, dense and with experts. */
import { shown } from "../../api/option-kinds.ts";
import type { GgufArchitecture } from "./architecture.ts";
import {
  decoderPairs,
  expertPairs,
  notComputed,
  uint32,
} from "./hyperparameters.ts";
import { type Names, QWEN2, QWEN2_MOE, QWEN3, QWEN3_MOE } from "./names.ts";
import { ropePairs } from "./rope.ts";

const QWEN: GgufArchitecture = {
  name: "qwen2",
  names: () => QWEN2,
  pairs(config) {
    config.require("hidden_act", "silu");
    config.require("use_sliding_window", false);
    // llama.cpp's graphs have biases of queries, keys and values, but not after attention.
    config.require("attention_bias", false);
    return [...decoderPairs(config), ...ropePairs(config)];
  },
};

/** `normalizes`: whether the selected experts' weights are normalized to sum 1, which llama.cpp's graph fixes. */
function qwenOfExperts(
  name: string,
  names: Names,
  normalizes: boolean,
): GgufArchitecture {
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

export const QWEN_MODELS = {
  qwen2: QWEN,
  qwen3: { ...QWEN, name: "qwen3", names: () => QWEN3 },
  qwen2_moe: qwenOfExperts("qwen2moe", QWEN2_MOE, false),
  qwen3_moe: qwenOfExperts("qwen3moe", QWEN3_MOE, true),
} as const satisfies Record<string, GgufArchitecture>;
