/** Directories of a model: read as one list of tensors, inspected, and what they would be for each loader. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it, test } from "vitest";
import {
  type Checkpoint,
  checkpointOf,
  readConfig,
  readIndex,
  tensorFiles,
} from "../../src/checkpoints/checkpoint.ts";
import { inspect } from "../../src/checkpoints/inspect.ts";
import { quantizedConfig } from "../../src/checkpoints/quantization-config.ts";
import { recognizeFormats } from "../../src/formats/blocks/foreign-formats.ts";
import { indexOf, shardsOf } from "../../src/checkpoints/shards.ts";
import type { Target } from "../../src/api/scheme.ts";
import { decideFor, targetHeads } from "../../src/checkpoints/targets.ts";
import { dtypeBytes, type Dtype } from "../../src/formats/dtype.ts";
import { decideRoles } from "../../src/formats/roles/roles.ts";
import type { TensorRange } from "../../src/formats/tensor.ts";

const { models } = JSON.parse(
  gunzipSync(
    readFileSync(
      join(import.meta.dirname, "../fixtures/architectures.json.gz"),
    ),
  ).toString(),
) as {
  models: Record<
    string,
    { tensors: { name: string; shape: number[] }[]; tiedEmbeddings: boolean }
  >;
};

/** Tensors one behind the other, as a file has them. */
function placed(
  tensors: readonly { name: string; shape: readonly number[]; dtype?: Dtype }[],
): TensorRange<Dtype>[] {
  let start = 0;
  return tensors.map(({ name, shape, dtype = "BF16" }) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const end = start + dtypeBytes(dtype, count);
    const range = { name, shape, dtype, start, end };
    start = end;
    return range;
  });
}

function checkpoint(model: string, config = {}): Checkpoint {
  return checkpointOf(
    new Map([["model.safetensors", placed(models[model]!.tensors)]]),
    undefined,
    { model_type: model, ...config },
  );
}

/** What a directory for `target` would hold of MXFP4, and its config. */
function made(target: Target, { tensors, config }: Checkpoint) {
  const decisions = decideFor(
    target,
    tensors,
    decideRoles(tensors, config),
    config,
  );
  const packed = tensors.flatMap((head, i) => {
    const decision = decisions[i]!;
    return decision.layout ? targetHeads(head, decision, decision.layout) : [];
  });
  const heads = Object.fromEntries(
    packed.map(({ name, dtype, shape }) => [
      name,
      `${dtype} ${shape.join(",")}`,
    ]),
  );
  return {
    heads,
    decisions,
    config: quantizedConfig(target, tensors, decisions, config),
  };
}

describe("reading a directory", () => {
  const index = (weight_map: unknown) => JSON.stringify({ weight_map });
  const nested = (levels: number) =>
    '{"a":'.repeat(levels - 1) + "{}" + "}".repeat(levels - 1);

  test("a config of 127 levels is read, quotes and brackets in strings are none of them", () => {
    const config = `{"s":"\\\\\\"${"[{".repeat(200)}","n":${nested(126)}}`;
    expect(Object.keys(readConfig(config))).toEqual(["s", "n"]);
  });

  test("one file, or those that the index names", () => {
    expect(
      tensorFiles(["model.safetensors", "config.json"], undefined),
    ).toEqual(["model.safetensors"]);
    expect(tensorFiles(["a.safetensors", "README.md"], undefined)).toEqual([
      "a.safetensors",
    ]);
    expect(
      tensorFiles(["b", "a", "c"], index({ x: "b", y: "a", z: "b" })),
    ).toEqual(["a", "b"]);
  });

  test.each([
    [
      () => tensorFiles(["a.safetensors", "b.safetensors"], undefined),
      "got a.safetensors, b.safetensors",
    ],
    [() => tensorFiles(["pytorch_model.bin"], undefined), "got none"],
    [
      () => tensorFiles(["a"], index({ x: "a", y: "b" })),
      "got none of the name b",
    ],
    [
      () =>
        tensorFiles(
          [],
          index(Object.fromEntries("1234567".split("").map((x) => [x, x]))),
        ),
      "got none of the name 1, 2, 3, 4, 5 and 2 more",
    ],
    [() => readIndex("{"), "to be JSON"],
    [() => readIndex(index({ x: "a\ud800" })), String.raw`got "a\ud800"`],
    [() => readIndex(index({ x: "a\\b" })), String.raw`got "a\\b"`],
    [() => readIndex(index({ x: ["a".repeat(200)] })), "aaaa..."],
    [() => readIndex(index({ ["x".repeat(1000)]: 1 })), "xxx... to be a name"],
    ...[readIndex, readConfig].map((read): [() => unknown, string] => [
      () => read(nested(128)),
      "to be JSON of at most 127 levels",
    ]),
    [() => readIndex("[]"), "a `weight_map`"],
    [
      () => readIndex(index({ x: "../a" })),
      'the file of "x" to be a name beside it, got "../a"',
    ],
    [() => readIndex(index({ x: ".." })), 'got ".."'],
    [() => readIndex(index({ x: 7 })), "got 7"],
    [() => readConfig("[1]"), "to hold an object"],
  ])("refusal %#", (read, message) => {
    expect(read).toThrow(message);
  });

  test("tensors come in the order of their names, however files are cut", () => {
    const [a, b, c] = placed([
      { name: "a", shape: [2] },
      { name: "b", shape: [2] },
      { name: "c", shape: [2] },
    ]);
    const names = (files: [string, TensorRange<Dtype>[]][]) =>
      checkpointOf(new Map(files), undefined, undefined).tensors.map(
        ({ name, file }) => `${file}/${name}`,
      );
    expect(
      names([
        ["2", [c!, a!]],
        ["1", [b!]],
      ]),
    ).toEqual(["2/a", "1/b", "2/c"]);
  });

  test("index and files must agree", () => {
    const files = new Map([
      ["1", placed([{ name: "a", shape: [2] }])],
      ["2", placed([{ name: "b", shape: [2] }])],
    ]);
    const read = (map: unknown) => () =>
      checkpointOf(files, index(map), undefined);
    expect(read({ a: "1", b: "2" })).not.toThrow();
    expect(read({ a: "2", b: "2" })).toThrow('"a" in 2, got it in 1');
    expect(read({ a: "1", b: "2", c: "1" })).toThrow(
      '"c" in 1, got it in no file',
    );
    expect(read({ a: "1" })).toThrow('"b" in 2 alone');
    const twice = new Map([...files, ["3", files.get("1")!]]);
    expect(() => checkpointOf(twice, undefined, undefined)).toThrow(
      'each tensor in one file, got "a" in 1 and 3',
    );
  });
});

describe("for each loader", () => {
  test("vLLM: weight_packed and weight_scale, and every linear layer that stays is ignored", () => {
    const { heads, config } = made("vllm", checkpoint("qwen2_moe"));
    const prefix = "model.layers.0.mlp";
    expect(heads[`${prefix}.experts.0.down_proj.weight_packed`]).toBe(
      "U8 64,32",
    );
    expect(heads[`${prefix}.experts.0.down_proj.weight_scale`]).toBe("U8 64,2");
    expect(config.quantization_config).toEqual({
      quant_method: "compressed-tensors",
      format: "mxfp4-pack-quantized",
      quantization_status: "compressed",
      config_groups: {
        group_0: {
          targets: ["Linear"],
          weights: {
            num_bits: 4,
            type: "float",
            symmetric: true,
            strategy: "group",
            group_size: 32,
            dynamic: false,
            scale_dtype: "torch.uint8",
          },
          input_activations: null,
        },
      },
      ignore: [
        "lm_head",
        ...[0, 1].flatMap((layer) => [
          `model.layers.${layer}.mlp.gate`,
          `model.layers.${layer}.mlp.shared_expert_gate`,
        ]),
      ],
    });
  });

  test.each([
    ["vllm", "ignore"],
    ["quark", "exclude"],
  ] as const)(
    "%s: a head that is the token embeddings is listed, though it has no tensor",
    (target, key) => {
      const left = (model: string, config: object): string[] => {
        const { quantization_config: told } = made(
          target,
          checkpoint(model, config),
        ).config;
        return (told as Record<string, string[]>)[key]!;
      };
      for (const model of ["gemma", "smollm3", "starcoder2"])
        for (const config of [{}, { tie_word_embeddings: true }])
          expect(left(model, config), model).toEqual(["lm_head"]);
      // Once, where it has a tensor.
      expect(left("llama", { tie_word_embeddings: false })).toEqual([
        "lm_head",
      ]);
      // Not where the model is said to have none.
      expect(left("gemma", { architectures: ["GemmaModel"] })).toEqual([]);
      expect(left("gemma", { tie_word_embeddings: false })).toEqual([]);
    },
  );

  test("vLLM: a Conv1D is turned to [out, in]", () => {
    const { heads } = made("vllm", checkpoint("gpt2"));
    expect(heads["transformer.h.0.attn.c_attn.weight_packed"]).toBe(
      "U8 192,32",
    );
    expect(heads["transformer.h.0.mlp.c_proj.weight_scale"]).toBe("U8 64,8");
  });

  test("transformers: gpt-oss's experts, turned, and nothing else", () => {
    const { heads, config } = made("transformers", checkpoint("gpt_oss"));
    expect(Object.keys(heads)).toHaveLength(2 * 4);
    const experts = "model.layers.1.mlp.experts";
    expect(heads).toMatchObject({
      [`${experts}.gate_up_proj_blocks`]: "U8 4,256,2,16",
      [`${experts}.gate_up_proj_scales`]: "U8 4,256,2",
      [`${experts}.down_proj_blocks`]: "U8 4,64,4,16",
      [`${experts}.down_proj_scales`]: "U8 4,64,4",
    });
    expect(config.quantization_config).toMatchObject({
      quant_method: "mxfp4",
      modules_to_not_convert: expect.arrayContaining([
        "lm_head",
        "model.layers.0.mlp.router",
        "model.layers.0.self_attn.q_proj",
      ]) as unknown,
    });
    const { heads: none } = made("transformers", checkpoint("llama"));
    expect(none).toEqual({});
  });

  test("MLX: u32 under the weight's own name; GPT-2, whose loader turns weights, keeps them", () => {
    const { heads, config } = made("mlx", checkpoint("llama"));
    expect(heads["model.layers.0.mlp.down_proj.weight"]).toBe("U32 64,16");
    expect(heads["model.layers.0.mlp.down_proj.scales"]).toBe("U8 64,4");
    expect(config).toMatchObject({
      quantization: { group_size: 32, bits: 4, mode: "mxfp4" },
    });
    const { heads: none, decisions } = made("mlx", checkpoint("gpt2"));
    expect(none).toEqual({});
    expect(decisions.find(({ role }) => role === "linear-in-out")!.reason).toBe(
      "a linear layer, [in, out]; mlx's loader turns the weights of a Conv1D itself",
    );
  });

  test("Quark: u8 under the weight's own name, and exclude", () => {
    const { heads, config } = made("quark", checkpoint("llama"));
    expect(heads["model.layers.0.self_attn.k_proj.weight"]).toBe("U8 32,32");
    expect(heads["model.layers.0.self_attn.k_proj.weight_scale"]).toBe(
      "U8 32,2",
    );
    expect(config.quantization_config).toMatchObject({
      quant_method: "quark",
      exclude: ["lm_head"],
      global_quant_config: {
        weight: {
          dtype: "fp4",
          qscheme: "per_group",
          group_size: 32,
          scale_format: "e8m0",
          is_dynamic: false,
        },
      },
      // vLLM reads its length.
      export: { kv_cache_group: [] },
    });
  });

  test("a former quantizer's words go", () => {
    const { config } = made(
      "quark",
      checkpoint("llama", {
        quantization: { bits: 8 },
        quantization_config: { quant_method: "fp8" },
        compression_config: { quant_method: "compressed-tensors" },
        text_config: {
          quantization_config: { quant_method: "fp8" },
          dtype: "bfloat16",
        },
        audio_config: { quantization: { codebooks: 8 } },
        rope_theta: 1,
      }),
    );
    expect(config).toMatchObject({
      rope_theta: 1,
      quantization_config: { quant_method: "quark" },
      audio_config: { quantization: { codebooks: 8 } },
    });
    expect(config.text_config).toEqual({ dtype: "bfloat16" });
    expect(config).not.toHaveProperty("quantization");
    expect(config).not.toHaveProperty("compression_config");
  });

  test("layers that the loader runs as one are packed together or not at all", () => {
    const { tensors, config } = checkpoint("llama");
    const decisions = decideFor(
      "vllm",
      tensors,
      decideRoles(tensors, config),
      config,
    ).map((decision, i) =>
      tensors[i]!.name === "model.layers.1.self_attn.k_proj.weight"
        ? { ...decision, packed: false }
        : decision,
    );
    const write = (target: Target) => () =>
      quantizedConfig(target, tensors, decisions, config);
    expect(write("vllm")).toThrow(
      "got model.layers.1.self_attn.q_proj packed and model.layers.1.self_attn.k_proj kept",
    );
    expect(write("mlx")).not.toThrow();
  });
});

describe("output files", () => {
  const groups = [
    [{ name: "a", dtype: "U8" as const, shape: [60] }],
    [
      { name: "b_packed", dtype: "U8" as const, shape: [30] },
      { name: "b_scale", dtype: "U8" as const, shape: [20] },
    ],
    [{ name: "c", dtype: "BF16" as const, shape: [5] }],
  ];

  test("hold as many tensors as are read again, and no weight in two", () => {
    const small = Array.from({ length: 10_000 }, (_, i) => [
      { name: `${i}_packed`, dtype: "U8" as const, shape: [1] },
      { name: `${i}_scale`, dtype: "U8" as const, shape: [1] },
    ]);
    const made = shardsOf(small, 1e9).map(({ tensors }) => tensors);
    expect(made.map(({ length }) => length)).toEqual([16_384, 3_616]);
    expect(made.flat()).toEqual(small.flat());
    // One more, and its pair goes along.
    const odd = shardsOf([[small[0]![0]!], ...small.slice(1)], 1e9);
    expect(odd.map(({ tensors }) => tensors.length)).toEqual([16_383, 3_616]);
  });

  test("hold at most what was said, and no weight in two", () => {
    const shards = shardsOf(groups, 100);
    expect(
      shards.map(({ file, tensors }) => [
        file,
        tensors.map(({ name }) => name),
      ]),
    ).toEqual([
      ["model-00001-of-00002.safetensors", ["a"]],
      ["model-00002-of-00002.safetensors", ["b_packed", "b_scale", "c"]],
    ]);
    const [file, json] = indexOf(shards)!;
    expect(file).toBe("model.safetensors.index.json");
    expect(JSON.parse(json)).toEqual({
      metadata: { total_size: 120 },
      weight_map: {
        a: "model-00001-of-00002.safetensors",
        b_packed: "model-00002-of-00002.safetensors",
        b_scale: "model-00002-of-00002.safetensors",
        c: "model-00002-of-00002.safetensors",
      },
    });
    expect(() => shardsOf(groups, 55)).toThrow('the 60 bytes of "a"');
  });

  test("one file needs no index", () => {
    const shards = shardsOf(groups, 120);
    expect(shards.map(({ file }) => file)).toEqual(["model.safetensors"]);
    expect(indexOf(shards)).toBeUndefined();
  });
});

describe("formats of others are told by their tensors", () => {
  const u8 = (name: string, ...shape: number[]) => ({
    name,
    dtype: "U8" as Dtype,
    shape,
  });
  const cases: [string, { name: string; dtype: Dtype; shape: number[] }[]][] = [
    [
      "MXFP4, gpt-oss",
      [
        u8("m.down_proj_blocks", 4, 64, 2, 16),
        u8("m.down_proj_scales", 4, 64, 2),
      ],
    ],
    [
      "MXFP4, gpt-oss",
      [
        u8("m.mlp1_weight.blocks", 4, 64, 2, 16),
        u8("m.mlp1_weight.scales", 4, 64, 2),
      ],
    ],
    [
      "MXFP4, compressed-tensors",
      [u8("m.weight_packed", 64, 32), u8("m.weight_scale", 64, 2)],
    ],
    [
      "NVFP4, compressed-tensors",
      [
        u8("m.weight_packed", 64, 32),
        { name: "m.weight_scale", dtype: "F8_E4M3", shape: [64, 4] },
      ],
    ],
    ...[
      "m.weight_packed m.weight_scale",
      "m.weight m.weight_scale",
      "m.weight m.scale",
    ].map((names): (typeof cases)[number] => {
      const [name, scale] = names.split(" ") as [string, string];
      return [
        "NVFP4, F4 with E4M3 scales",
        [
          { name, dtype: "F4", shape: [64, 64] },
          { name: scale, dtype: "F8_E4M3", shape: [64, 4] },
        ],
      ];
    }),
    [
      "INT4, compressed-tensors",
      [
        { name: "m.weight_packed", dtype: "I32", shape: [64, 8] },
        { name: "m.weight_scale", dtype: "BF16", shape: [64, 1] },
      ],
    ],
    ["MXFP4, Quark", [u8("m.weight", 64, 32), u8("m.weight_scale", 64, 2)]],
    [
      "MXFP4, MLX",
      [
        { name: "m.weight", dtype: "U32", shape: [64, 8] },
        u8("m.scales", 64, 2),
      ],
    ],
    [
      "affine INT, MLX",
      [
        { name: "m.weight", dtype: "U32", shape: [64, 8] },
        { name: "m.scales", dtype: "F16", shape: [64, 1] },
        { name: "m.biases", dtype: "F16", shape: [64, 1] },
      ],
    ],
    [
      "MXFP4, DeepSeek",
      [
        { name: "m.weight", dtype: "I8", shape: [64, 32] },
        { name: "m.scale", dtype: "F8_E8M0", shape: [64, 2] },
      ],
    ],
    [
      "MXFP4, F4 with E8M0 scales",
      [
        { name: "m.weight", dtype: "F4", shape: [64, 64] },
        { name: "m.weight_scale", dtype: "F8_E8M0", shape: [64, 2] },
      ],
    ],
    ["FP8", [{ name: "m.weight", dtype: "F8_E4M3", shape: [64, 64] }]],
    [
      "INT4, GPTQ",
      [
        { name: "m.qweight", dtype: "I32", shape: [8, 64] },
        { name: "m.qzeros", dtype: "I32", shape: [2, 8] },
        { name: "m.g_idx", dtype: "I32", shape: [64] },
      ],
    ],
    [
      "INT8, GPTQ",
      [
        { name: "m.qweight", dtype: "I32", shape: [16, 64] },
        { name: "m.qzeros", dtype: "I32", shape: [2, 16] },
      ],
    ],
    [
      "INT4, AWQ",
      [
        { name: "m.qweight", dtype: "I32", shape: [64, 8] },
        { name: "m.qzeros", dtype: "I32", shape: [2, 8] },
      ],
    ],
    ["GPTQ", [{ name: "m.qweight", dtype: "I32", shape: [8, 64] }]],
    [
      "NVFP4, ModelOpt",
      [
        u8("m.weight", 64, 32),
        { name: "m.weight_scale", dtype: "F8_E4M3", shape: [64, 4] },
        { name: "m.weight_scale_2", dtype: "F32", shape: [] },
      ],
    ],
    [
      "NVFP4, MLX",
      [
        { name: "m.weight", dtype: "U32", shape: [64, 8] },
        u8("m.scales", 64, 4),
      ],
    ],
    [
      "MXFP8, MLX",
      [
        { name: "m.weight", dtype: "U32", shape: [64, 16] },
        u8("m.scales", 64, 2),
      ],
    ],
    [
      "MXFP8, compressed-tensors",
      [
        { name: "m.weight", dtype: "F8_E4M3", shape: [64, 64] },
        u8("m.weight_scale", 64, 2),
      ],
    ],
    [
      "INT8, compressed-tensors",
      [
        { name: "m.weight", dtype: "I8", shape: [64, 64] },
        { name: "m.weight_scale", dtype: "BF16", shape: [64, 1] },
      ],
    ],
    [
      "NF4 or FP4, bitsandbytes",
      [u8("m.weight", 2048, 1), u8("m.weight.absmax", 64)],
    ],
    [
      "INT8, bitsandbytes",
      [
        { name: "m.weight", dtype: "I8", shape: [64, 64] },
        { name: "m.SCB", dtype: "F32", shape: [64] },
      ],
    ],
  ];
  test.each(cases)("%s", (format, heads) => {
    const [found, ...others] = recognizeFormats(heads);
    expect(found).toMatchObject({ format, weights: 1 });
    expect(others.map((each) => each.format)).not.toContain(format);
  });

  test("by config.json where tensors tell nothing", () => {
    const config = { quantization_config: { quant_method: "bitnet" } };
    const formats = (own: object) =>
      inspect({ tensors: [], config: own as Record<string, unknown> }).formats;
    expect(formats(config)).toMatchObject([{ format: "bitnet" }]);
    expect(formats({ quantization_config: null })).toEqual([]);
  });
});

describe("inspect", () => {
  it("says bytes now and in MXFP4, and what each loader takes", () => {
    const inspection = inspect(checkpoint("llama"));
    expect(inspection.modelType).toBe("llama");
    const linears = inspection.tensors.filter(({ packed }) => packed);
    expect(linears).toHaveLength(14);
    for (const { bytes, mxfp4Bytes } of linears)
      expect(mxfp4Bytes / bytes).toBeCloseTo(4.25 / 16, 12);
    expect(inspection.dtypes).toEqual({
      BF16: { tensors: 21, bytes: inspection.bytes },
    });
    expect(
      inspection.loaders.map(({ loader, loads, packedTensors }) => [
        loader,
        loads,
        packedTensors,
      ]),
    ).toEqual([
      ["vllm", true, 14],
      ["transformers", false, 0],
      ["mlx", true, 14],
      ["quark", true, 14],
      ["llama.cpp", false, 0],
    ]);
    const [vllm, transformers] = inspection.loaders;
    expect(vllm).toMatchObject({ refusals: [], bytes: inspection.mxfp4Bytes });
    expect(transformers!.refusals).toEqual([
      "transformers takes MXFP4 in the experts of gpt-oss alone: model.layers.0.mlp.down_proj.weight and 13 more",
    ]);
  });

  it("of every architecture of the fixture, with as many bytes as its headers say", () => {
    for (const model of Object.keys(models)) {
      const { tensors, bytes, mxfp4Bytes, loaders } = inspect(
        checkpoint(model),
      );
      expect(bytes).toBe(tensors.reduce((sum, each) => sum + each.bytes, 0));
      expect(mxfp4Bytes).toBeLessThan(bytes);
      for (const loader of loaders) {
        expect(loader.bytes).toBeGreaterThanOrEqual(mxfp4Bytes);
        expect(loader.loads).toBe(loader.packedTensors > 0);
        if (!loader.loads) expect(loader.refusals.length).toBeGreaterThan(0);
      }
    }
  });
});
