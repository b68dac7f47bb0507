/** Directories as others save them: what is computed here as there, and what is refused by its name. */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import type { ModelShape } from "../../src/api/run-config.ts";
import { writeSafetensors } from "../../src/formats/containers/safetensors.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { openTextModel } from "../../src/generation/open-model.ts";
import {
  architectureOf,
  completeShape,
  decoderOf,
} from "../../src/model/architectures.ts";
import { openModel } from "../../src/training/imported-model.ts";
import {
  directoryOf,
  type Files,
  folderIn,
  gpt2Tensors,
  type RandomTensor,
  written,
} from "../support/text-models.ts";

const SIZES = { layers: 1, width: 64, heads: 4, context: 32, vocabulary: 256 };
const GPT2 = completeShape(SIZES);
const LLAMA = completeShape({ ...SIZES, arch: "llama" });
const CONFIG = architectureOf(LLAMA).huggingFaceConfig(LLAMA);

const json = (value: unknown): Uint8Array =>
  new TextEncoder().encode(JSON.stringify(value));

function directory(
  shape: ModelShape,
  change: (tensors: RandomTensor[]) => RandomTensor[],
): Files {
  const config = architectureOf(shape).huggingFaceConfig(shape);
  return directoryOf(config, change(gpt2Tensors(shape)));
}

const renamed = (
  tensors: readonly RandomTensor[],
  from: string,
  to: string,
  change: (values: Float32Array) => void = () => {},
): RandomTensor[] =>
  tensors
    .filter(({ name }) => name === from)
    .map((tensor) => {
      const values = tensor.values.slice();
      change(values);
      return { ...tensor, name: to, values };
    });

const text = async (files: Files): Promise<string> =>
  (await written(files, "the", { maxTokens: 20, seed: 1 })).text;

/** What trains on it reads the same. */
async function parameters(files: Files, shape: ModelShape) {
  const { read } = await openModel(folderIn(files));
  return read(0, architectureOf(shape).model(shape).table.length);
}

describe.each([
  ["GPT-2", GPT2, "transformer.wte.weight"],
  ["Llama", LLAMA, "model.embed_tokens.weight"],
] as const)("a %s whose head is its table of tokens", (_, shape, table) => {
  const head = "lm_head.weight";
  const plain = directory(shape, (tensors) => tensors);

  test("may have it as the head, as both, or as the head alone", async () => {
    const [expected, values] = [
      await text(plain),
      await parameters(plain, shape),
    ];
    for (const changed of [
      directory(shape, (tensors) => [
        ...tensors,
        ...renamed(tensors, table, head),
      ]),
      directory(shape, (tensors) => [
        ...tensors.filter(({ name }) => name !== table),
        ...renamed(tensors, table, head),
      ]),
    ]) {
      expect(await text(changed)).toBe(expected);
      expect(await parameters(changed, shape)).toEqual(values);
    }
  });

  test("is refused with another head, which transformers would take", async () => {
    const changed = directory(shape, (tensors) => [
      ...tensors,
      ...renamed(tensors, table, head, (values) => (values[4000]! += 1)),
    ]);
    const message = `Expected "${head}" to be "${table}", as \`tie_word_embeddings\` says, got another`;
    await expect(text(changed)).rejects.toThrow(message);
    await expect(parameters(changed, shape)).rejects.toThrow(message);
  });

  test("is refused with a tensor under two names", async () => {
    const bare = table.replace(/^\w+\./, "");
    const changed = directory(shape, (tensors) => [
      ...tensors,
      ...renamed(tensors, table, bare, (values) => (values[0]! += 1)),
    ]);
    const message = "Expected a tensor once, got ";
    await expect(text(changed)).rejects.toThrow(message);
    await expect(parameters(changed, shape)).rejects.toThrow(message);
  });
});

/** In bytes of a dtype; all of them hold a bf16 of moderate size. */
const ENCODED: Record<string, (value: number) => Uint8Array> = {
  F64: (value) => new Uint8Array(Float64Array.of(value).buffer),
  F32: (value) => new Uint8Array(Float32Array.of(value).buffer),
  F16: (value) => {
    const bits = new DataView(Float32Array.of(value).buffer).getUint32(0, true);
    const exponent = ((bits >>> 23) & 0xff) - 112;
    const half =
      ((bits >>> 16) & 0x8000) | (exponent << 10) | ((bits >>> 13) & 0x3ff);
    return Uint8Array.of(half & 0xff, half >>> 8);
  },
  BF16: (value) => new Uint8Array(Float32Array.of(value).buffer).slice(2),
};

/** The sign, the exponent and three bits of each value, which every dtype has, and none too small for f16. */
const coarse = (tensors: readonly RandomTensor[]): RandomTensor[] =>
  tensors.map((tensor) => {
    const values = tensor.values.map((x) => (Math.abs(x) < 1e-3 ? 1e-3 : x));
    const bits = new Uint32Array(values.buffer);
    for (let i = 0; i < bits.length; i++) bits[i]! &= 0xfff00000;
    return { ...tensor, values };
  });

/** Tensors in turn in two files and an index, and what others leave in files besides. */
function sharded(
  shape: ModelShape,
  dtype: "F64" | "F32" | "F16" | "BF16",
  extra: string,
): Files {
  const buffer = { name: extra, shape: [4], values: new Float32Array(4) };
  const tensors = [...coarse(gpt2Tensors(shape)), buffer];
  const [first, second] = [0, 1].map((half) =>
    tensors.filter((_, i) => i % 2 === half),
  );
  const files: Files = new Map();
  const weight_map: Record<string, string> = {};
  for (const [name, own] of Object.entries({
    "a.safetensors": first!,
    "b.safetensors": second!,
  })) {
    const { bytes, chunks } = writeSafetensors(
      own.map(({ name, shape, values }) => ({
        name,
        shape: [...shape],
        dtype,
        chunks: [
          concatenate(
            values.length * ENCODED[dtype]!(1).length,
            Array.from(values, ENCODED[dtype]!),
          ),
        ],
      })),
      new Map(),
    );
    files.set(name, concatenate(bytes, [...chunks]));
    for (const tensor of own) weight_map[tensor.name] = name;
  }
  files.set("model.safetensors.index.json", json({ weight_map }));
  files.set(
    "config.json",
    json(architectureOf(shape).huggingFaceConfig(shape)),
  );
  return files;
}

test.each([
  ["GPT-2", GPT2, "transformer.h.0.attn.bias"],
  ["GPT-2", GPT2, "h.0.attn.masked_bias"],
  ["Llama", LLAMA, "model.layers.0.self_attn.rotary_emb.inv_freq"],
] as const)(
  "a %s in shards of any dtype writes the same, whatever buffers lie beside: %s, %s",
  async (_, shape, extra) => {
    const plain = directory(shape, coarse);
    const [expected, values] = [
      await text(plain),
      await parameters(plain, shape),
    ];
    for (const dtype of ["F64", "F32", "F16", "BF16"] as const) {
      const files = sharded(shape, dtype, extra);
      expect.soft(await text(files), dtype).toBe(expected);
      expect.soft(await parameters(files, shape), dtype).toEqual(values);
    }
  },
);

test("a shard that the index names and that is not there is refused", async () => {
  const files = sharded(GPT2, "F32", "h.0.attn.bias");
  files.delete("b.safetensors");
  await expect(text(files)).rejects.toThrow("b.safetensors");
});

test.each<[object | string, number[]]>([
  [{ eos_token_id: [7, 9] }, [7, 9]],
  [{ eos_token_id: 8 }, [8]],
  [{ max_length: 32 }, [5]],
])("generation_config.json %j tells what ends a text", async (told, ends) => {
  const files = directory(GPT2, (tensors) => tensors);
  const config = architectureOf(GPT2).huggingFaceConfig(GPT2);
  files.set("config.json", json({ ...config, eos_token_id: 5 }));
  files.set("generation_config.json", json(told));
  const model = await openTextModel(folderIn(files));
  expect((await model.load("f32")).endings).toEqual(ends);
});

test.each(["vocab.json", "tokenizer.model"])(
  "a directory whose tokenizer is in %s alone is refused: its tokens are no bytes",
  async (name) => {
    const files = directory(GPT2, (tensors) => tensors);
    expect((await text(files)).length).toBeGreaterThan(0);
    files.set(name, json({}));
    await expect(text(files)).rejects.toThrow(
      `Expected tokenizer.json, got ${name} alone`,
    );
  },
);

test.each([
  ["GPT-2", GPT2, "n_layer"],
  ["Llama", LLAMA, "num_hidden_layers"],
] as const)(
  "a %s of more layers than there are tensors is refused before any of them is thought of",
  async (_, shape, key) => {
    const files = directory(shape, (tensors) => tensors);
    const config = architectureOf(shape).huggingFaceConfig(shape);
    files.set("config.json", json({ ...config, [key]: 1e12 }));
    const message = `Expected config.json with a \`${key}\` of at most the `;
    await expect(text(files)).rejects.toThrow(message);
    await expect(parameters(files, shape)).rejects.toThrow(message);
  },
);

test("a generation_config.json that is none is refused", async () => {
  const files = directory(GPT2, (tensors) => tensors);
  files.set("generation_config.json", new TextEncoder().encode("{"));
  const model = await openTextModel(folderIn(files));
  await expect(model.load("f32")).rejects.toThrow(
    "Expected an object in generation_config.json, got other text",
  );
});

const ONES = Array.from({ length: 8 }, () => 1);
const TWOS = ONES.map(() => 2);

/** Of Llama's config.json; as transformers 5.17 computes or ignores each. */
const REFUSED: [change: object, message: string][] = [
  [{ hidden_act: "gelu" }, '`hidden_act` "silu" or "swish", got "gelu"'],
  [{ is_causal: false }, "`is_causal` true, got false"],
  [{ mlp_bias: 1 }, "`mlp_bias` false or true, got 1"],
  [{ mlp_bias: true, model_type: "mistral" }, "`mlp_bias` false, got true"],
  [{ sliding_window: 31 }, "`sliding_window` null, got 31"],
  [
    { model_type: "mistral", sliding_window: 0 },
    "a whole number `sliding_window` from 1, or null, got 0",
  ],
  [
    { model_type: "qwen3", use_sliding_window: 1 },
    "`use_sliding_window` true or false, got 1",
  ],
  [
    { model_type: "qwen2", use_sliding_window: true, max_window_layers: -1 },
    "a whole number `max_window_layers` from 0, got -1",
  ],
  [
    { layer_types: ["full_attention", "sliding_attention"] },
    '`layer_types` of 1 layers, got ["full_attention","sliding_attention"]',
  ],
  [
    { layer_types: ["sliding_attention"], sliding_window: 8 },
    "`sliding_window` null, got 8",
  ],
  [
    { model_type: "qwen3", layer_types: ["sliding_attention"] },
    '`layer_types` "full_attention" in layer 0, got "sliding_attention"',
  ],
  [
    { model_type: "mistral", layer_types: ["full_attention"] },
    '`layer_types` "sliding_attention" in layer 0, got "full_attention"',
  ],
  [
    {
      model_type: "qwen3",
      use_sliding_window: true,
      layer_types: ["chunked_attention"],
    },
    '`layer_types` "full_attention" or "sliding_attention" in layer 0, got "chunked_attention"',
  ],
  [
    { rope_scaling: { type: "dynamic", factor: 2 } },
    '`rope_type` default, linear, llama3, yarn, longrope, got "dynamic"',
  ],
  [{ rope_parameters: { type: "linear" } }, "`factor` above 0, got null"],
  [
    { rope_scaling: { type: "linear", factor: "2" } },
    '`factor` above 0, got "2"',
  ],
  [
    { rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 1 } },
    "`high_freq_factor` above 0, got null",
  ],
  [
    {
      rope_scaling: {
        rope_type: "llama3",
        factor: 8,
        low_freq_factor: 4,
        high_freq_factor: 4,
      },
    },
    "`high_freq_factor` above `low_freq_factor`, 4, got 4",
  ],
  [
    { rope_scaling: { rope_type: "yarn", factor: 4, truncate: 1 } },
    "`truncate` true or false, got 1",
  ],
  [
    {
      rope_scaling: {
        rope_type: "longrope",
        short_factor: [1],
        long_factor: [2],
      },
    },
    "`short_factor` of 8 numbers above 0, got [1]",
  ],
  [
    {
      rope_scaling: {
        rope_type: "longrope",
        short_factor: ONES,
        long_factor: [0],
      },
    },
    "`long_factor` of 8 numbers above 0, got [0]",
  ],
  [
    { model_type: "phi3", rope_scaling: { rope_type: "linear", factor: 2 } },
    '`rope_type` default, longrope, su, yarn, got "linear"',
  ],
  [
    { model_type: "phi3", partial_rotary_factor: 0.2 },
    "`partial_rotary_factor` of an even number of a head's 16 channels, got 0.2",
  ],
  [
    { rope_parameters: { full_attention: { rope_theta: 5 } } },
    "`rope_parameters` that all layers share",
  ],
  [
    { rope_parameters: { partial_rotary_factor: 0.5 } },
    "`partial_rotary_factor` null or 1, got 0.5",
  ],
  [
    { partial_rotary_factor: 0.5 },
    "`partial_rotary_factor` null or 1, got 0.5",
  ],
  [{ rope_scaling: "linear" }, 'an object `rope_scaling`, got "linear"'],
  [
    { tie_word_embeddings: "yes" },
    '`tie_word_embeddings` true or false, got "yes"',
  ],
];

describe("a Phi-3, whose files hold layers of one input as one", () => {
  const config = { ...CONFIG, model_type: "phi3" };
  const plain = gpt2Tensors(LLAMA);
  const asOne = (to: string, ...parts: string[]): RandomTensor => {
    const own = parts.map((part) =>
      plain.find(({ name }) => name.endsWith(`${part}.weight`))!,
    );
    const rows = own.reduce((sum, { shape }) => sum + shape[0]!, 0);
    const values = Float32Array.from(own.flatMap((each) => [...each.values]));
    return {
      name: `model.layers.0.${to}.weight`,
      shape: [rows, SIZES.width],
      values,
    };
  };
  const fused = [
    asOne("self_attn.qkv_proj", "q_proj", "k_proj", "v_proj"),
    asOne("mlp.gate_up_proj", "gate_proj", "up_proj"),
    ...plain.filter(({ name }) => !/(q|k|v|gate|up)_proj/.test(name)),
  ];

  test("writes as the Llama of the same rows, and is trained on as such", async () => {
    const files = directoryOf(config, fused);
    const llama = directoryOf(CONFIG, plain);
    expect(await text(files)).toBe(await text(llama));
    expect(await parameters(files, LLAMA)).toEqual(
      await parameters(llama, LLAMA),
    );
  });

  test("is refused with other rows, and a Llama with such layers", async () => {
    const groups = { ...config, num_key_value_heads: 4 };
    const message =
      'Expected "model.layers.0.self_attn.qkv_proj.weight" with 192 rows, those of self_attn.q_proj (64), self_attn.k_proj (64), self_attn.v_proj (64), got [128, 64]';
    const files = directoryOf(groups, fused);
    await expect(text(files)).rejects.toThrow(message);
    await expect(parameters(files, LLAMA)).rejects.toThrow(message);
    const llama = directoryOf(CONFIG, fused);
    await expect(text(llama)).rejects.toThrow("self_attn.q_proj");
    await expect(parameters(llama, LLAMA)).rejects.toThrow("self_attn.q_proj");
  });

  test("that turns a part of each head is not trained on", async () => {
    const part = { ...config, partial_rotary_factor: 0.5 };
    const files = directoryOf(part, fused);
    expect((await text(files)).length).toBeGreaterThan(0);
    await expect(parameters(files, LLAMA)).rejects.toThrow(
      "`partial_rotary_factor` null or 1 to train, got 0.5",
    );
  });
});

describe("a GPT-2's config.json", () => {
  const config = architectureOf(GPT2).huggingFaceConfig(GPT2);
  const { n_layer, n_embd, ...rest } = config;
  const aliased = { ...rest, num_hidden_layers: n_layer, hidden_size: n_embd };

  test("may have other names for sizes, but no other sizes", () => {
    const gpt2 = architectureOf(GPT2);
    expect(gpt2.importedShape(aliased)).toEqual(GPT2);
    expect(gpt2.importedShape({ ...config, ...aliased })).toEqual(GPT2);
    const other = { ...config, num_hidden_layers: 2 };
    expect(() => gpt2.importedShape(other)).toThrow(
      "`n_layer` and `num_hidden_layers` the same, got 1 and 2",
    );
  });

  test("of a model that sees what follows is refused", () => {
    expect(() => decoderOf({ ...config, is_causal: false })).toThrow(
      "`is_causal` true, got false",
    );
  });
});

test("a Llama whose width is no multiple of its heads leaves as a Mistral, as Llama's class takes none", () => {
  const shape = completeShape({
    ...SIZES,
    arch: "llama",
    heads: 6,
    headWidth: 16,
  });
  const llama = architectureOf(shape);
  const config = llama.huggingFaceConfig(shape);
  expect(config).toMatchObject({
    architectures: ["MistralForCausalLM"],
    model_type: "mistral",
    sliding_window: null,
  });
  expect(llama.importedShape(config)).toEqual(shape);
});

describe("a Llama's config.json", () => {
  test.each(REFUSED)("%j is refused", (change, message) => {
    expect(() => decoderOf({ ...CONFIG, ...change })).toThrow(message);
  });

  test.each<[change: object, shape: object]>([
    [{ sliding_window: 32 }, {}],
    [{ hidden_act: "swish" }, {}],
    [{ layer_types: ["full_attention"] }, {}],
    [
      { rope_scaling: null, rope_parameters: null, rope_theta: 70 },
      { ropeBase: 70 },
    ],
    [{ rope_scaling: { type: "default", rope_theta: 50 } }, { ropeBase: 50 }],
    [
      { rope_scaling: { rope_type: "default" }, rope_theta: 60 },
      { ropeBase: 60 },
    ],
    [{ num_key_value_heads: null }, { groups: 4 }],
    [{ head_dim: null }, { headWidth: 16 }],
    [{ model_type: "mistral", sliding_window: null }, {}],
    [{ model_type: "mistral", sliding_window: 9 }, { context: 9 }],
    [{ model_type: "phi3", rms_norm_eps: null }, { epsilon: 1e-5 }],
    [
      {
        model_type: "phi3",
        original_max_position_embeddings: 8,
        rope_scaling: { type: "su", short_factor: ONES, long_factor: TWOS },
      },
      {
        context: 8,
        ropeScaling: {
          type: "factors",
          factors: ONES,
          // √(1 + ln 4 / ln 8)
          attentionFactor: Math.sqrt(5 / 3),
        },
      },
    ],
    [
      {
        model_type: "phi3",
        rope_scaling: { type: "su", short_factor: TWOS, long_factor: ONES },
      },
      { ropeScaling: { type: "factors", factors: TWOS } },
    ],
    [
      {
        rope_parameters: {
          rope_type: "longrope",
          original_max_position_embeddings: 8,
          short_factor: TWOS,
          long_factor: TWOS,
          attention_factor: 1.5,
        },
      },
      {
        ropeScaling: { type: "factors", factors: TWOS, attentionFactor: 1.5 },
      },
    ],
    [
      { model_type: "mistral", max_position_embeddings: 5000 },
      { context: 4096 },
    ],
    [
      { model_type: "qwen3", use_sliding_window: true, sliding_window: 8 },
      { headNorm: true },
    ],
    [
      {
        model_type: "qwen3",
        use_sliding_window: true,
        sliding_window: 8,
        max_window_layers: 0,
      },
      { headNorm: true, context: 8 },
    ],
    [
      {
        model_type: "mistral",
        num_attention_heads: 16,
        num_key_value_heads: undefined,
      },
      { heads: 16, groups: 8 },
    ],
    [
      { model_type: "qwen3", head_dim: undefined, sliding_window: 8 },
      { headWidth: 128, headNorm: true },
    ],
  ])("%j is computed as it says", (change, shape) => {
    const config = { ...CONFIG, ...change };
    expect(architectureOf(LLAMA).importedShape(config)).toEqual({
      ...LLAMA,
      ...shape,
    });
  });
});
