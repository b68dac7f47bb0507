/** Gemma, Gemma 2 and Gemma 3. */
import { type GgufArchitecture, checkLayerTypes } from "./architecture.ts";
import {
  decoderPairs,
  headLength,
  type Hyperparameters,
  type Pairs,
  real,
  uint32,
} from "./hyperparameters.ts";
import { GEMMA, GEMMA2, GEMMA3, type Names } from "./names.ts";
import { ropePairs, slidingBase } from "./rope.ts";

function gemma(
  name: string,
  names: Names,
  more: GgufArchitecture["pairs"],
): GgufArchitecture {
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

/** For Gemma 2 and 3: llama.cpp's graph scales by 1/√(head length). */
function slidingPairs(config: Hyperparameters, period: number): Pairs {
  config.require("query_pre_attn_scalar", headLength(config));
  checkLayerTypes(config, period);
  return [
    ["attention.sliding_window", uint32(config.number("sliding_window"))],
  ];
}

export const GEMMA_MODELS = {
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
} as const satisfies Record<string, GgufArchitecture>;
