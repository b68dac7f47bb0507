/** Experts of a layer, which loaders run as one: all in MXFP4 or none, and what the config says of those that stay. */
import { expect, test } from "vitest";
import type { Target } from "../../src/api/scheme.ts";
import { quantizedConfig } from "../../src/checkpoints/quantization-config.ts";
import { decideFor } from "../../src/checkpoints/targets.ts";
import { decideRoles } from "../../src/formats/roles/roles.ts";
import type { TensorHead } from "../../src/formats/tensor.ts";
import type { Dtype } from "../../src/formats/dtype.ts";

const WIDTH = 64;
/** How the experts of a layer are called, their directions' names, into their width and out of it. */
const MIXTRAL = ["block_sparse_moe.experts", ["w1", "w3"], "w2"] as const;
const QWEN = ["mlp.experts", ["gate_proj", "up_proj"], "down_proj"] as const;

type Named = TensorHead<Dtype>;
const bf16 = (name: string, ...shape: number[]): Named => ({
  name,
  dtype: "BF16",
  shape,
});

/** Two layers of two experts each, whose inner width is `inner`. */
function mixture(
  [experts, into, outOf]: typeof MIXTRAL | typeof QWEN,
  inner = 96,
): Named[] {
  return [0, 1].flatMap((layer) => {
    const own = `model.layers.${layer}`;
    return [
      bf16(`${own}.self_attn.q_proj.weight`, WIDTH, WIDTH),
      bf16(`${own}.self_attn.k_proj.weight`, WIDTH, WIDTH),
      bf16(`${own}.self_attn.v_proj.weight`, WIDTH, WIDTH),
      ...[0, 1].flatMap((e) => [
        ...into.map((name) =>
          bf16(`${own}.${experts}.${e}.${name}.weight`, inner, WIDTH),
        ),
        bf16(`${own}.${experts}.${e}.${outOf}.weight`, WIDTH, inner),
      ]),
      bf16(`${own}.mlp.shared_experts.down_proj.weight`, WIDTH, WIDTH),
    ];
  });
}

/** As Qwen3-MoE is written by transformers 5. */
function stacked(): Named[] {
  return [0, 1].flatMap((layer) => {
    const own = `model.layers.${layer}`;
    return [
      bf16(`${own}.self_attn.o_proj.weight`, WIDTH, WIDTH),
      bf16(`${own}.mlp.experts.gate_up_proj`, 2, 192, WIDTH),
      bf16(`${own}.mlp.experts.down_proj`, 2, WIDTH, 96),
    ];
  });
}

function configFor(target: Target, heads: Named[], exclude = /^$/) {
  const roles = decideRoles(heads, undefined).map((role, i) =>
    exclude.test(heads[i]!.name) ? { ...role, packed: false } : role,
  );
  const decisions = decideFor(target, heads, roles, undefined);
  const packed = heads.flatMap(({ name }, i) =>
    decisions[i]!.packed ? [name] : [],
  );
  return {
    packed,
    decisions,
    write: () =>
      quantizedConfig(target, heads, decisions, undefined)
        .quantization_config as Record<string, string[]>,
  };
}

/** vLLM's own rule, of compressed-tensors and of Quark: equal, or `re:` and what the name begins with. */
const isLeft = (name: string, left: readonly string[]): boolean =>
  left.some((each) =>
    each.startsWith("re:")
      ? new RegExp(`^(?:${each.slice(3)})`).test(name)
      : each === name,
  );
/** It asks for these three, whatever the checkpoint calls them. */
const askedFor = (experts: string): string[] =>
  ["gate_proj", "up_proj", "down_proj"].map((name) => `${experts}.0.${name}`);

test.each([
  ["in one tensor", stacked(), /^$/, "mlp.experts"],
  ["one by one", mixture(QWEN), /\.experts\./, "mlp.experts"],
  [
    "of other names",
    mixture(MIXTRAL),
    /\.experts\./,
    "block_sparse_moe.experts",
  ],
  [
    "of one layer alone",
    mixture(MIXTRAL),
    /\.0\.[a-z_]+\.experts\./,
    "block_sparse_moe.experts",
  ],
])(
  "experts that stay, %s, are ones that the loader leaves",
  (what, heads, exclude, experts) => {
    for (const [target, key] of [
      ["vllm", "ignore"],
      ["quark", "exclude"],
    ] as const) {
      const { write, packed } = configFor(target, heads, exclude);
      const left = write()[key]!;
      for (const layer of [0, 1]) {
        const module = `model.layers.${layer}.${experts}`;
        const stays = layer === 0 || !what.includes("alone");
        for (const name of [module, ...askedFor(module)])
          expect(isLeft(name, left), `${target} ${name}`).toBe(stays);
      }
      // No more than these: nor the layers 10 and on, which begin so.
      for (const name of packed)
        expect(isLeft(name.replace(/\.weight$/, ""), left), name).toBe(false);
      expect(isLeft(`model.layers.00.${experts}.0.up_proj`, left)).toBe(false);
    }
  },
);

test("experts that are packed are in no list", () => {
  for (const heads of [mixture(MIXTRAL), mixture(QWEN)])
    for (const target of ["vllm", "quark"] as const) {
      const { write } = configFor(target, heads);
      const { ignore, exclude } = write();
      expect(ignore ?? exclude).toEqual([]);
    }
});

test.each([
  [
    mixture(QWEN),
    /\.down_proj/,
    "mlp.experts.0.gate_proj.weight packed",
    "mlp.experts.0.down_proj.weight kept",
  ],
  [
    mixture(MIXTRAL),
    /\.experts\.1\./,
    "experts.0.w1.weight packed",
    "experts.1.w1.weight kept",
  ],
  [
    mixture(MIXTRAL),
    /\.0\.[a-z_]+\.experts\.0\./,
    "experts.0.w1.weight kept",
    "experts.1.w1.weight packed",
  ],
])(
  "a part of a layer's experts is refused: %#",
  (heads, exclude, one, other) => {
    for (const target of ["vllm", "quark"] as const) {
      const { write } = configFor(target, heads, exclude);
      expect(write).toThrow(one);
      expect(write).toThrow(other);
    }
    // Which stacks them as it loads, and takes packed ones of some models alone.
    expect(configFor("mlx", heads, exclude).write).not.toThrow();
  },
);

test("where one matrix has no whole blocks, all of the layer's experts stay, with the reason", () => {
  const heads = mixture(QWEN, 48);
  for (const target of ["vllm", "quark"] as const) {
    const { packed, decisions, write } = configFor(target, heads);
    expect(packed.filter((name) => /\.experts\./.test(name))).toEqual([]);
    expect(packed).toContain(
      "model.layers.1.mlp.shared_experts.down_proj.weight",
    );
    const at = heads.findIndex(({ name }) =>
      name.endsWith("experts.1.up_proj.weight"),
    );
    expect(decisions[at]!.reason).toContain(
      "all experts of a layer run as one, and model.layers.0.mlp.experts.0.down_proj.weight has no whole blocks",
    );
    expect(write).not.toThrow();
  }
});

test("gpt-oss's experts of a layer that stays are no layers to convert", () => {
  const heads = [0, 1].flatMap((layer) => [
    bf16(`model.layers.${layer}.mlp.experts.gate_up_proj`, 2, WIDTH, 192),
    bf16(`model.layers.${layer}.mlp.experts.down_proj`, 2, 96, WIDTH),
  ]);
  const config = { model_type: "gpt_oss", hidden_size: WIDTH };
  const roles = decideRoles(heads, config).map((role, i) =>
    i < 2 ? { ...role, packed: false } : role,
  );
  for (const target of ["transformers", "vllm", "mlx"] as const) {
    const decisions = decideFor(target, heads, roles, config);
    expect(
      quantizedConfig(target, heads, decisions, config).quantization_config,
    ).toEqual({
      quant_method: "mxfp4",
      modules_to_not_convert: ["model.layers.0.mlp.experts"],
    });
  }
});

test.each([
  ["encoder.layer.0.attention.self", ["query", "key", "value"]],
  ["transformer.h.0.mlp", ["c_fc_0", "c_fc_1"]],
])("layers of %s that run as one are packed together", (owner, names) => {
  const heads = names.map((name) =>
    bf16(`${owner}.${name}.weight`, WIDTH, WIDTH),
  );
  const told = new RegExp(`${names[0]}.weight|${names[0]}$`);
  for (const target of ["vllm", "quark"] as const) {
    expect(configFor(target, heads, told).write).toThrow(
      `Expected ${names.map((name) => `${owner}.${name}`).join(", ")} to be packed together or not at all`,
    );
    expect(configFor(target, heads).write).not.toThrow();
  }
});
