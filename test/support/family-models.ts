/** Small models of families that become a GGUF: their configs, and tensors of random values, as transformers stores them. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LlamaConfig } from "../reference/llama.ts";
import { normals } from "./random.ts";

const VOCABULARY = 256;
const [WIDTH, INNER, HEADS, GROUPS, LENGTH, EXPERTS] = [64, 96, 4, 2, 16, 4];

/** One for each pair of channels. */
const FACTORS = Array.from({ length: LENGTH / 2 }, (_, pair) => 1 + pair / 3);

type Config = Record<string, unknown> & { model_type: string };
type Rope = LlamaConfig["rope_parameters"];
type Values = ReadonlyMap<string, { shape: number[]; values: Float32Array }>;
type Shapes = [name: string, ...shape: number[]][];

const BASE = {
  hidden_size: WIDTH,
  intermediate_size: INNER,
  num_hidden_layers: 2,
  num_attention_heads: HEADS,
  num_key_value_heads: GROUPS,
  head_dim: LENGTH,
  rms_norm_eps: 1e-6,
  max_position_embeddings: 64,
  vocab_size: VOCABULARY,
  hidden_act: "silu",
  rope_parameters: { rope_theta: 10_000, rope_type: "default" },
  tie_word_embeddings: false,
};
const GEMMA = {
  ...BASE,
  hidden_act: "gelu_pytorch_tanh",
  hidden_activation: "gelu_pytorch_tanh",
  tie_word_embeddings: true,
  query_pre_attn_scalar: LENGTH,
};

/** By what is told of them; in the order of a decoder of the same tensors. */
export const DECODERS: Record<string, Config & LlamaConfig> = {
  llama: { model_type: "llama", ...BASE, tie_word_embeddings: true },
  "llama with Llama 3.1's rope": {
    model_type: "llama",
    ...BASE,
    rope_parameters: {
      rope_theta: 10_000,
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    },
  },
  "mistral with a linear rope": {
    model_type: "mistral",
    ...BASE,
    rope_parameters: { rope_theta: 5_000, rope_type: "linear", factor: 2 },
  },
  "qwen2 with a yarn rope": {
    model_type: "qwen2",
    ...BASE,
    rope_parameters: {
      rope_theta: 100,
      rope_type: "yarn",
      factor: 8,
      original_max_position_embeddings: 8,
    },
  },
  "llama with a yarn rope of a length of its own": {
    model_type: "llama",
    ...BASE,
    rope_parameters: {
      rope_theta: 100,
      rope_type: "yarn",
      factor: 8,
      original_max_position_embeddings: 8,
      attention_factor: 0.6,
    },
  },
  "qwen3 with a yarn rope of two lengths": {
    model_type: "qwen3",
    ...BASE,
    rope_parameters: {
      rope_theta: 100,
      rope_type: "yarn",
      factor: 8,
      original_max_position_embeddings: 8,
      mscale: 2,
      mscale_all_dim: 0.5,
    },
  },
  "llama of a factor a pair": {
    model_type: "llama",
    ...BASE,
    rope_parameters: {
      rope_theta: 10_000,
      rope_type: "longrope",
      factor: 1,
      short_factor: FACTORS,
      long_factor: FACTORS,
      attention_factor: 1,
    } as Rope,
  },
  "llama of a factor a pair and larger queries": {
    model_type: "llama",
    ...BASE,
    rope_parameters: {
      rope_theta: 10_000,
      rope_type: "longrope",
      factor: 1,
      short_factor: FACTORS,
      long_factor: FACTORS,
      attention_factor: 1.3,
    } as Rope,
  },
  mixtral: {
    model_type: "mixtral",
    ...BASE,
    num_local_experts: EXPERTS,
    num_experts_per_tok: 2,
  },
  qwen2: { model_type: "qwen2", ...BASE },
  qwen3: { model_type: "qwen3", ...BASE },
  "llama with biases of attention": {
    model_type: "llama",
    ...BASE,
    attention_bias: true,
  },
  "llama with biases of the MLP": {
    model_type: "llama",
    ...BASE,
    mlp_bias: true,
  },
  "llama with biases of all layers": {
    model_type: "llama",
    ...BASE,
    attention_bias: true,
    mlp_bias: true,
  },
  qwen2_moe: {
    model_type: "qwen2_moe",
    ...BASE,
    num_experts: EXPERTS,
    num_experts_per_tok: 2,
    moe_intermediate_size: 64,
    shared_expert_intermediate_size: 32,
    norm_topk_prob: false,
  },
  qwen3_moe: {
    model_type: "qwen3_moe",
    ...BASE,
    num_experts: EXPERTS,
    num_experts_per_tok: 2,
    moe_intermediate_size: 64,
    norm_topk_prob: true,
  },
  gemma: { model_type: "gemma", ...GEMMA },
  gemma2: {
    model_type: "gemma2",
    ...GEMMA,
    attn_logit_softcapping: 5,
    final_logit_softcapping: 4,
    sliding_window: 8,
    layer_types: ["sliding_attention", "full_attention"],
  },
  gemma3_text: {
    model_type: "gemma3_text",
    ...GEMMA,
    sliding_window: 8,
    layer_types: ["sliding_attention", "sliding_attention"],
    rope_parameters: {
      full_attention: { rope_theta: 1e6, rope_type: "default" },
      sliding_attention: { rope_theta: 2_000, rope_type: "default" },
    },
  },
};

export function decoderShapes(config: Config): Shapes {
  const type = config.model_type;
  const gated = (
    path: string,
    inner: number,
    [gate, up, down] = ["gate_proj", "up_proj", "down_proj"],
  ): Shapes => [
    [`${path}.${gate}.weight`, inner, WIDTH],
    [`${path}.${up}.weight`, inner, WIDTH],
    [`${path}.${down}.weight`, WIDTH, inner],
  ];
  const layer = (i: number): Shapes => {
    const own = `model.layers.${i}`;
    const attention = `${own}.self_attn`;
    const isBiased = config.attention_bias === true;
    const biases: Shapes =
      isBiased || type.startsWith("qwen2")
        ? [
            [`${attention}.q_proj.bias`, HEADS * LENGTH],
            [`${attention}.k_proj.bias`, GROUPS * LENGTH],
            [`${attention}.v_proj.bias`, GROUPS * LENGTH],
          ]
        : [];
    if (isBiased) biases.push([`${attention}.o_proj.bias`, WIDTH]);
    if (config.mlp_bias === true)
      biases.push(
        [`${own}.mlp.gate_proj.bias`, INNER],
        [`${own}.mlp.up_proj.bias`, INNER],
        [`${own}.mlp.down_proj.bias`, WIDTH],
      );
    const headNorms: Shapes = /^(qwen3|gemma3)/.test(type)
      ? [
          [`${attention}.q_norm.weight`, LENGTH],
          [`${attention}.k_norm.weight`, LENGTH],
        ]
      : [];
    const around: Shapes = /^gemma[23]/.test(type)
      ? [
          [`${own}.pre_feedforward_layernorm.weight`, WIDTH],
          [`${own}.post_feedforward_layernorm.weight`, WIDTH],
        ]
      : [];
    const numbers = Array.from({ length: EXPERTS }, (_, e) => e);
    const feedForward: Shapes =
      type === "mixtral"
        ? [
            [`${own}.block_sparse_moe.gate.weight`, EXPERTS, WIDTH],
            ...numbers.flatMap((e) =>
              gated(`${own}.block_sparse_moe.experts.${e}`, INNER, [
                "w1",
                "w3",
                "w2",
              ]),
            ),
          ]
        : type.endsWith("_moe")
          ? [
              [`${own}.mlp.gate.weight`, EXPERTS, WIDTH],
              ...numbers.flatMap((e) => gated(`${own}.mlp.experts.${e}`, 64)),
              ...(type === "qwen2_moe"
                ? ([
                    ...gated(`${own}.mlp.shared_expert`, 32),
                    [`${own}.mlp.shared_expert_gate.weight`, 1, WIDTH],
                  ] as Shapes)
                : []),
            ]
          : type === "phi3"
            ? [
                [`${own}.mlp.gate_up_proj.weight`, 2 * INNER, WIDTH],
                [`${own}.mlp.down_proj.weight`, WIDTH, INNER],
              ]
            : gated(`${own}.mlp`, INNER);
    const projections: Shapes =
      type === "phi3"
        ? [
            [
              `${attention}.qkv_proj.weight`,
              (HEADS + 2 * GROUPS) * LENGTH,
              WIDTH,
            ],
          ]
        : [
            [`${attention}.q_proj.weight`, HEADS * LENGTH, WIDTH],
            [`${attention}.k_proj.weight`, GROUPS * LENGTH, WIDTH],
            [`${attention}.v_proj.weight`, GROUPS * LENGTH, WIDTH],
          ];
    return [
      [`${own}.input_layernorm.weight`, WIDTH],
      ...projections,
      [`${attention}.o_proj.weight`, WIDTH, HEADS * LENGTH],
      ...biases,
      ...headNorms,
      [`${own}.post_attention_layernorm.weight`, WIDTH],
      ...around,
      ...feedForward,
    ];
  };
  return [
    ["model.embed_tokens.weight", VOCABULARY, WIDTH],
    ...layer(0),
    ...layer(1),
    ["model.norm.weight", WIDTH],
    ...(config.tie_word_embeddings === true
      ? []
      : ([["lm_head.weight", VOCABULARY, WIDTH]] as Shapes)),
  ];
}

export const MAMBA = {
  model_type: "mamba",
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  state_size: 8,
  conv_kernel: 4,
  time_step_rank: 4,
  layer_norm_epsilon: 1e-5,
  hidden_act: "silu",
  vocab_size: VOCABULARY,
};

export function mambaShapes(): Shapes {
  const layer = (i: number): Shapes => {
    const own = `backbone.layers.${i}`;
    return [
      [`${own}.norm.weight`, 32],
      [`${own}.mixer.in_proj.weight`, 128, 32],
      [`${own}.mixer.conv1d.weight`, 64, 1, 4],
      [`${own}.mixer.conv1d.bias`, 64],
      [`${own}.mixer.x_proj.weight`, 20, 64],
      [`${own}.mixer.dt_proj.weight`, 64, 4],
      [`${own}.mixer.dt_proj.bias`, 64],
      [`${own}.mixer.A_log`, 64, 8],
      [`${own}.mixer.D`, 64],
      [`${own}.mixer.out_proj.weight`, 32, 64],
    ];
  };
  return [
    ["backbone.embeddings.weight", VOCABULARY, 32],
    ...layer(0),
    ...layer(1),
    ["backbone.norm_f.weight", 32],
  ];
}

export const T5 = {
  model_type: "t5",
  d_model: 64,
  d_kv: 16,
  d_ff: 96,
  num_layers: 2,
  num_decoder_layers: 2,
  num_heads: 4,
  relative_attention_num_buckets: 32,
  relative_attention_max_distance: 128,
  layer_norm_epsilon: 1e-6,
  feed_forward_proj: "relu",
  decoder_start_token_id: 0,
  tie_word_embeddings: true,
  vocab_size: VOCABULARY,
};

export function t5Shapes(): Shapes {
  const attention = (path: string): Shapes =>
    ["q", "k", "v", "o"].map((name) => [`${path}.${name}.weight`, 64, 64]);
  const block = (stack: string, i: number): Shapes => {
    const own = `${stack}.block.${i}.layer`;
    const last = stack === "encoder" ? 1 : 2;
    return [
      ...attention(`${own}.0.SelfAttention`),
      [`${own}.0.layer_norm.weight`, 64],
      ...(i === 0
        ? ([
            [`${own}.0.SelfAttention.relative_attention_bias.weight`, 32, 4],
          ] as Shapes)
        : []),
      ...(stack === "decoder"
        ? ([
            ...attention(`${own}.1.EncDecAttention`),
            [`${own}.1.layer_norm.weight`, 64],
          ] as Shapes)
        : []),
      [`${own}.${last}.DenseReluDense.wi.weight`, 96, 64],
      [`${own}.${last}.DenseReluDense.wo.weight`, 64, 96],
      [`${own}.${last}.layer_norm.weight`, 64],
    ];
  };
  return [
    ["shared.weight", VOCABULARY, 64],
    ...["encoder", "decoder"].flatMap((stack): Shapes => [
      ...block(stack, 0),
      ...block(stack, 1),
      [`${stack}.final_layer_norm.weight`, 64],
    ]),
  ];
}

/** Values so large that predictions are far from even, those of norms near what multiplies by one. */
export function randomValues(
  shapes: Shapes,
  { normsAt = 1, gain = 1.2 } = {},
): Values {
  return new Map(
    shapes.map(([name, ...shape], i) => {
      const count = shape.reduce((a, b) => a * b, 1);
      const isNorm = /norm(_f)?\.weight$/.test(name);
      const isTable =
        /embed|shared|lm_head/.test(name) &&
        shape.length === 2 &&
        !name.includes("expert");
      const size =
        isNorm || shape.length < 2
          ? 0.2
          : isTable
            ? 0.08
            : gain / Math.sqrt(shape.at(-1)!);
      const values = normals(count, i + 1).map(
        (x) => x * size + (isNorm ? normsAt : 0),
      );
      return [name, { shape, values }];
    }),
  );
}

/** A directory of them, in `files` files, of a dtype that holds more or less than f32. */
export function writeDirectory(
  path: string,
  config: object,
  values: Values,
  {
    files = 1,
    dtype = "F32",
  }: { files?: number; dtype?: "F32" | "F64" | "BF16" } = {},
): void {
  mkdirSync(path);
  writeFileSync(join(path, "config.json"), JSON.stringify(config));
  const weight_map: Record<string, string> = {};
  const all = [...values];
  const each = Math.ceil(all.length / files);
  for (let i = 0; i < files; i++) {
    const own = all.slice(i * each, (i + 1) * each);
    const file = files === 1 ? "model.safetensors" : `model-${i}.safetensors`;
    for (const [name] of own) weight_map[name] = file;
    writeFileSync(join(path, file), safetensors(own, dtype));
  }
  if (files > 1)
    writeFileSync(
      join(path, "model.safetensors.index.json"),
      JSON.stringify({ weight_map }),
    );
}

function safetensors(
  tensors: readonly [string, { shape: number[]; values: Float32Array }][],
  dtype: "F32" | "F64" | "BF16",
): Uint8Array {
  let at = 0;
  const data = tensors.map(([, { values }]) =>
    Buffer.from(
      dtype === "F32"
        ? values.buffer
        : dtype === "F64"
          ? Float64Array.from(values).buffer
          : Uint16Array.from(
              new Uint32Array(values.slice().buffer),
              (bits) => bits >>> 16,
            ).buffer,
    ),
  );
  const header = Object.fromEntries(
    tensors.map(([name, { shape }], i) => {
      const start = at;
      at += data[i]!.length;
      return [name, { dtype, shape, data_offsets: [start, at] }];
    }),
  );
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...data]);
}
