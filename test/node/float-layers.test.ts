/** Layers that loaders run as floats, or change as they load them: kept, and told of, whatever the model is called. */
import { describe, expect, test } from "vitest";
import type { Target } from "../../src/api/scheme.ts";
import { decideDirectory } from "../../src/checkpoints/decide-directory.ts";
import type { Checkpoint } from "../../src/checkpoints/checkpoint.ts";
import { whyNotLoaded } from "../../src/checkpoints/loaded-layouts.ts";
import { quantizedConfig } from "../../src/checkpoints/quantization-config.ts";
import { decideRoles } from "../../src/formats/roles/roles.ts";

const WIDTH = 64;

type Shapes = Record<string, readonly number[]>;

const square = (...names: string[]): Shapes =>
  Object.fromEntries(names.map((name) => [`${name}.weight`, [WIDTH, WIDTH]]));

const under = (prefix: string, shapes: Shapes): Shapes =>
  Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [prefix + name, shape]),
  );

const headsOf = (shapes: Shapes): Checkpoint["tensors"] =>
  Object.entries(shapes).map(([name, shape]) => ({
    name,
    dtype: "BF16",
    shape,
  })) as unknown as Checkpoint["tensors"];

function decided(
  target: Target,
  shapes: Shapes,
  config: Record<string, unknown> = {},
  include: string[] = [],
) {
  const tensors = headsOf(shapes);
  const checkpoint = { tensors, config } as Checkpoint;
  const { decisions } = decideDirectory(checkpoint, {
    target,
    rotate: "none",
    selection: { include, exclude: [] },
  });
  const packed = tensors.flatMap(({ name }, i) =>
    decisions[i]!.packed ? [name.replace(/\.weight$/, "")] : [],
  );
  const whole = quantizedConfig(target, tensors, decisions, config);
  const told = whole.quantization_config as Record<string, string[]>;
  const reasons = decisions.map(({ reason }) => reason);
  return { packed, left: told.ignore ?? told.exclude ?? [], reasons };
}

const ATTENTION = square("q_proj", "k_proj", "v_proj", "o_proj");
const LLAMA = under("model.layers.0.self_attn.", ATTENTION);
const OF_LLAMA = Object.keys(LLAMA).map((name) => name.slice(0, -7));

/** What is kept of a model beside a Llama's attention, which is packed. */
const KEPT: [
  what: string,
  Target[],
  Shapes,
  config?: Record<string, unknown>,
][] = [
  [
    "Mamba's selective scan",
    ["vllm", "quark"],
    {
      ...square(
        "backbone.layers.0.mixer.in_proj",
        "backbone.layers.0.mixer.x_proj",
        "backbone.layers.0.mixer.out_proj",
        "backbone.layers.0.mixer.dt_proj",
      ),
    },
  ],
  [
    "Jamba's",
    ["vllm", "quark"],
    square(
      "model.layers.1.mamba.in_proj",
      "model.layers.1.mamba.x_proj",
      "model.layers.1.mamba.out_proj",
    ),
  ],
  [
    "ModernBERT's layers",
    ["vllm", "quark"],
    square("layers.0.attn.Wqkv", "model.layers.0.mlp.Wi", "layers.0.mlp.Wo"),
    { model_type: "modernbert" },
  ],
  [
    "torch's attention",
    ["vllm", "quark"],
    square("model.resampler.attn.out_proj"),
  ],
  [
    "DeepSeek's indexer",
    ["vllm", "quark"],
    square(
      "model.layers.0.self_attn.indexer.wk",
      "model.layers.0.self_attn.indexer.weights_proj",
    ),
  ],
  [
    "a step to further tokens",
    ["vllm", "quark"],
    square("model.layers.61.eh_proj"),
  ],
  ["BERT's pooler", ["vllm", "quark"], square("bert.pooler.dense")],
  [
    "heads with layers of their own",
    ["vllm", "quark"],
    square(
      "classifier.dense",
      "cls.predictions.transform.dense",
      "head.dense",
      "lm_head.dense",
    ),
  ],
  [
    "CLIP's projections",
    ["vllm", "quark"],
    square("text_projection", "visual_projection"),
  ],
  [
    "latent attention's second layer",
    ["mlx"],
    square(
      "model.layers.0.self_attn.kv_b_proj",
      "model.layers.3.self_attn.1.kv_b_proj",
    ),
    { model_type: "deepseek_v3" },
  ],
  [
    "LFM2's gated layers",
    ["mlx"],
    square("model.layers.0.feed_forward.w1", "model.layers.0.feed_forward.w2"),
    { model_type: "lfm2_moe" },
  ],
  [
    "Granite's dense layers",
    ["mlx"],
    square("model.layers.0.shared_mlp.input_linear"),
    { model_type: "granitemoehybrid", num_local_experts: 0 },
  ],
];

describe("layers that a loader has in floats stay, beside those that it takes", () => {
  test.each(KEPT)("%s", (_, loaders, shapes, config) => {
    const all = {
      ...LLAMA,
      ...shapes,
      "model.resampler.attn.in_proj_weight": [192, 64],
    };
    const names = Object.keys(shapes).map((name) => name.slice(0, -7));
    for (const target of loaders) {
      const { packed, left } = decided(target, all, config);
      expect(packed).toEqual(OF_LLAMA);
      if (target !== "mlx") expect(left).toEqual(expect.arrayContaining(names));
      // Asked for by name they would not load either.
      const asked = decided(target, all, config, [
        "*proj*",
        ...names.map((name) => `${name}.weight`),
      ]);
      for (const name of names) expect(asked.packed).not.toContain(name);
    }
  });

  test("Falcon-H1's, which MLX multiplies as it loads them", () => {
    const shapes = {
      ...LLAMA,
      ...square(
        "model.layers.0.mamba.in_proj",
        "model.layers.0.feed_forward.up_proj",
      ),
    };
    const config = { model_type: "falcon_h1" };
    expect(decided("mlx", shapes, config).packed).toEqual([
      "model.layers.0.self_attn.v_proj",
      "model.layers.0.feed_forward.up_proj",
    ]);
    expect(decided("vllm", shapes, config).packed).toHaveLength(6);
  });

  test("the same names elsewhere are packed", () => {
    const names = [
      "model.layers.0.mamba.in_proj",
      "model.layers.0.mamba.out_proj",
      "model.layers.0.self_attn.kv_b_proj",
      "model.layers.0.self_attn.indexer.wq_b",
      "model.layers.0.feed_forward.w1",
      "model.layers.0.shared_mlp.input_linear",
      "model.layers.0.head.dense",
    ];
    expect(decided("vllm", square(...names)).packed).toEqual(names);
    const experts = { model_type: "granitemoehybrid", num_local_experts: 8 };
    const shared = square("model.layers.0.shared_mlp.input_linear");
    expect(decided("mlx", shared, experts).packed).toHaveLength(1);
  });
});

describe("experts, one by one, for MLX", () => {
  const experts = (module: string, ...names: string[]) =>
    square(...[0, 1].flatMap((e) => names.map((n) => `${module}.${e}.${n}`)));
  const MIXTRAL = experts(
    "model.layers.0.block_sparse_moe.experts",
    "w1",
    "w2",
    "w3",
  );
  const QWEN = experts(
    "model.layers.1.mlp.experts",
    "gate_proj",
    "up_proj",
    "down_proj",
  );
  const LIGHT = experts("model.layers.1.feed_forward.experts", "up_proj");

  test.each([
    ["mixtral", MIXTRAL],
    ["phimoe", MIXTRAL],
    ["qwen2_moe", QWEN],
    ["deepseek_v3", QWEN],
    ["kimi_k2", QWEN],
    ["glm4_moe", QWEN],
    ["olmoe", QWEN],
    ["jamba", LIGHT],
  ])("are packed for %s, whose scales it stacks too", (model_type, shapes) => {
    const all = { ...LLAMA, ...shapes };
    const { packed } = decided("mlx", all, { model_type });
    expect(packed).toHaveLength(Object.keys(all).length);
    // One matrix of all of them may stay; of one expert alone it may not.
    const [first] = Object.keys(shapes) as [string];
    const some = Object.keys(shapes).filter((name) => name !== first);
    const ofAll = first.replace("experts.0.", "experts.?.");
    expect(decided("mlx", all, { model_type }, [ofAll]).packed).toHaveLength(2);
    expect(() => decided("mlx", all, { model_type }, some)).toThrow(
      `Expected all of ${first.replace("experts.0.", "experts.*.").slice(0, -7)} to be packed together or not at all`,
    );
  });

  test.each(["qwen3_moe", "ernie4_5_moe", "minimax", "lfm2_moe", undefined])(
    "stay for %s",
    (model_type) => {
      const { packed, reasons } = decided(
        "mlx",
        { ...LLAMA, ...QWEN },
        { model_type },
      );
      expect(packed).toEqual(OF_LLAMA);
      expect(reasons.join()).toContain(
        "mlx stacks experts of this model as it loads them, and not packed ones",
      );
    },
  );

  test("Kimi Linear's shared experts, which it renames, stay", () => {
    const shared = square(
      "model.layers.1.block_sparse_moe.shared_experts.up_proj",
    );
    const config = { model_type: "kimi_linear" };
    const { packed } = decided("mlx", { ...LLAMA, ...shared }, config);
    expect(packed).toEqual(OF_LLAMA);
  });
});

describe("encoders of images and sound", () => {
  const TOWERS = [
    "visual.blocks.0.attn.qkv",
    "model.visual.merger.linear_fc1",
    "vision_tower.vision_model.encoder.layers.0.mlp.fc1",
    "vision_model.model.layers.0.self_attn.q_proj",
    "model.vision_embed_tokens.img_projection.0",
    "audio_tower.layers.0.fc1",
    "thinker.audio_tower.layers.0.fc1",
    "multi_modal_projector.linear_1",
    "model.mm_projector.0",
    "mlp1.1",
    "model.connector.modality_projection.proj",
    "vpm.encoder.layers.0.mlp.fc1",
    "model.embed_audio.embedding_projection",
  ];

  test.each(["vllm", "quark", "mlx"] as const)(
    "stay beside a text model for %s, are told of, and packed if asked for",
    (target) => {
      const shapes = { ...LLAMA, ...square(...TOWERS) };
      const { packed, left } = decided(target, shapes);
      expect(packed).toEqual(OF_LLAMA);
      if (target !== "mlx") expect(left).toEqual(TOWERS);
      const asked = decided(target, shapes, {}, ["visual.*"]);
      expect(asked.packed).toEqual(["visual.blocks.0.attn.qkv"]);
    },
  );

  test("alone they are the model", () => {
    const names = TOWERS.slice(2, 4);
    expect(decided("vllm", square(...names)).packed).toEqual(names);
  });

  test("words of theirs within a layer of the text model are no sign", () => {
    const names = [
      "model.layers.0.mlp.vision_mlp.up_proj",
      "model.layers.0.self_attn.vision_expert_dense",
    ];
    expect(decided("vllm", square(...names)).packed).toEqual(names);
  });
});

/** As vLLM renames a module, and what the config lists of modules: by how its name begins. */
function renamed(name: string): string {
  const prefixes = [
    ["model.language_model.", "language_model.model."],
    ["model.visual.", "visual."],
  ] as const;
  const found = prefixes.find(([from]) => name.startsWith(from));
  return found ? found[1] + name.slice(found[0].length) : name;
}

test("experts that stay in a model with a prefix are found under the name that vLLM gives them", () => {
  const own = "model.language_model.layers.0";
  const shapes: Shapes = {
    ...under(`${own}.self_attn.`, ATTENTION),
    ...square("model.visual.blocks.0.attn.qkv"),
    [`${own}.mlp.experts.gate_up_proj`]: [2, WIDTH, 192],
    [`${own}.mlp.experts.down_proj`]: [2, 96, WIDTH],
  };
  for (const target of ["vllm", "quark"] as const) {
    const { left } = decided(target, shapes, { hidden_size: WIDTH });
    const listed = left.map(renamed);
    const isLeft = (name: string) =>
      listed.some((each) =>
        each.startsWith("re:")
          ? new RegExp(`^(?:${each.slice(3)})`).test(name)
          : each === name,
      );
    const experts = "language_model.model.layers.0.mlp.experts";
    for (const name of ["gate_proj", "up_proj", "down_proj"])
      expect(isLeft(`${experts}.0.${name}`), target).toBe(true);
    expect(isLeft(experts)).toBe(true);
    expect(isLeft("visual.blocks.0.attn.qkv")).toBe(true);
    expect(isLeft("language_model.model.layers.0.self_attn.q_proj")).toBe(
      false,
    );
    expect(new Set(left).size).toBe(left.length);
  }
});

test("a directory with such a layer in blocks is told not to load, one with an encoder in them is not", () => {
  const weights = (...names: string[]) => {
    const heads = headsOf({ ...LLAMA, ...square(...names) });
    const roles = decideRoles(heads);
    return heads.map((head, i) => ({
      head,
      decision: roles[i]!,
      layout: "mlx" as const,
    }));
  };
  const config = { quantization: { mode: "mxfp4" } };
  expect(
    whyNotLoaded("mlx", weights("model.layers.0.self_attn.kv_b_proj"), config),
  ).toEqual([expect.stringContaining("mlx takes it apart as it loads it")]);
  expect(
    whyNotLoaded("mlx", weights("visual.blocks.0.attn.qkv"), config),
  ).toEqual([]);
});
