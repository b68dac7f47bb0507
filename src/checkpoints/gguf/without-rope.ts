/** Models without rotary positions: with learned or relative ones, or none. */
import type { GgufArchitecture } from "./architecture.ts";
import { real, uint32 } from "./hyperparameters.ts";
import { GPT2, MAMBA, T5 } from "./names.ts";

export const MODELS_WITHOUT_ROPE = {
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
        // Mamba has no positions; llama.cpp's converter writes the same.
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
    // transformers scales the input of a tied head; llama.cpp does not.
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
} as const satisfies Record<string, GgufArchitecture>;
