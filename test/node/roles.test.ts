/** Roles of tensors, against what transformers says that each is (test/fixtures/README.md). */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it, test } from "vitest";
import type { Dtype } from "../../src/formats/dtype.ts";
import type { ModelConfig } from "../../src/formats/roles/model-config.ts";
import type { Role } from "../../src/formats/roles/role.ts";
import { decideRoles } from "../../src/formats/roles/roles.ts";
import type { TensorHead } from "../../src/formats/tensor.ts";

function fixture<T>(file: string): T {
  const path = join(import.meta.dirname, "../fixtures", file);
  return JSON.parse(gunzipSync(readFileSync(path)).toString()) as T;
}

const floats = (name: string, shape: readonly number[]): TensorHead => ({
  name,
  shape,
  dtype: "BF16",
});

/** The role of each of a few tensors, which surround one another. */
function rolesOf(
  tensors: Record<string, readonly number[]>,
  config?: ModelConfig,
): Record<string, Role> {
  const heads = Object.entries(tensors).map(([name, shape]) =>
    floats(name, shape),
  );
  const decisions = decideRoles(heads, config);
  return Object.fromEntries(
    heads.map(({ name }, i) => [name, decisions[i]!.role]),
  );
}

describe("41 architectures, each tensor's role", () => {
  type Listed = { name: string; shape: number[]; class?: string; role: Role };
  const { models } = fixture<{ models: Record<string, { tensors: Listed[] }> }>(
    "architectures.json.gz",
  );

  it("has 1,508 tensors", () => {
    const listed = Object.values(models).flatMap(({ tensors }) => tensors);
    expect(listed).toHaveLength(1508);
    expect(new Set(listed.map(({ role }) => role)).size).toBe(3);
  });

  const configs: [string, ModelConfig | undefined][] = [
    ["with the sizes of its config.json", { hidden_size: 64, vocab_size: 256 }],
    ["without a config.json", undefined],
  ];
  describe.each(configs)("%s", (_, config) => {
    test.each(Object.entries(models))("%s", (_, { tensors }) => {
      const decisions = decideRoles(
        tensors.map(({ name, shape }) => floats(name, shape)),
        config,
      );
      const wrong = tensors.flatMap(({ name, role }, i) =>
        decisions[i]!.role === role
          ? []
          : [`${name}: ${decisions[i]!.role}, expected ${role}`],
      );
      expect(wrong).toEqual([]);
    });
  });
});

describe("514 more classes of transformers, by the class of each module", () => {
  /** Name, dtype, shape, the module's class or null where the file's name is not the module's, output embeddings. */
  type Row = [string, string, number[], string | null, true?];
  const { models } = fixture<{
    models: Record<string, { config: ModelConfig; tensors: Row[] }>;
  }>("architectures-wide.json.gz");
  const DTYPES: Record<string, Dtype> = { int8: "I8", float32: "F32" };

  /** What the class says: torch's linear layers, transformers' Conv1D, stacks of experts. */
  function roleOfClass([name, dtype, shape, kind, isOutput]: Row): Role {
    if (shape.length < 2 || dtype === "int8" || isOutput) return "keep";
    const isWeight = /(^|\.)(in_proj_)?weight$/.test(name);
    if (kind === "Conv1D") return "linear-in-out";
    if (kind === "MultiheadAttention" && isWeight) return "linear";
    return /Linear/.test(kind!) && isWeight ? "linear" : "keep";
  }

  /** Linear layers that are no layers to quantize, and experts, which have classes of their own. */
  const EXPECTED: [RegExp, Role][] = [
    [/(^|\.)(modality_)?router(\.(classifier|gate|layer))?\.weight$/, "keep"],
    [/shared_expert_gate\.weight$|altup\.\w+_coefs\.weight$/, "keep"],
    [
      /(^|\.)(lm|audio_lm|codec|vision|bpe|char|wp)_head(\.decoder)?\.weight$/,
      "keep",
    ],
    [/(^|\.)lm_heads\.\d+\.weight$/, "keep"],
    [/(^|\.)m(im|lm|mm_image|mm_text)_head\.decoder\.weight$/, "keep"],
    [/(^|\.)(seq_relationship|sop_classifier\.classifier)\.weight$/, "keep"],
    [/^joint\.head\.weight$|^(encoder\.)?out\.weight$/, "keep"],
    [/^model\.decoder\.output_projection\.weight$/, "keep"],
    [/aria.*experts\.fc[12]\.weight$/, "linear-in-out"],
  ];

  it("disagrees with no class but where a head, a router or experts are meant", () => {
    let judged = 0;
    const wrong: string[] = [];
    for (const [model, { config, tensors }] of Object.entries(models)) {
      const decisions = decideRoles(
        tensors.map(([name, dtype, shape]) => ({
          name,
          shape,
          dtype: DTYPES[dtype] ?? "I64",
        })),
        config,
      );
      tensors.forEach((row, i) => {
        const [name, , shape, kind] = row;
        if (kind === null) return;
        judged++;
        const got = decisions[i]!.role;
        const isStack = shape.length === 3 && /Experts/.test(kind);
        if (isStack ? got !== "keep" : got === roleOfClass(row)) return;
        const qualified = `${model}:${name}`;
        if (
          EXPECTED.some(
            ([pattern, role]) =>
              role === got && (pattern.test(name) || pattern.test(qualified)),
          )
        )
          return;
        wrong.push(`${qualified} [${shape.join(", ")}] ${kind}: ${got}`);
      });
    }
    expect(wrong).toEqual([]);
    expect(judged).toBeGreaterThan(15_000);
  });
});

describe("names that transformers does not write", () => {
  const H = 256;
  const V = 4096;

  test("Mistral's and Meta's own files", () => {
    expect(
      rolesOf({
        "tok_embeddings.weight": [V, H],
        "layers.0.attention.wq.weight": [H, H],
        "layers.0.attention_norm.weight": [H],
        "layers.0.feed_forward.w2.weight": [H, 512],
        "layers.0.block_sparse_moe.gate.weight": [8, H],
        "output.weight": [V, H],
      }),
    ).toEqual({
      "tok_embeddings.weight": "keep",
      "layers.0.attention.wq.weight": "linear",
      "layers.0.attention_norm.weight": "keep",
      "layers.0.feed_forward.w2.weight": "linear",
      "layers.0.block_sparse_moe.gate.weight": "keep",
      "output.weight": "keep",
    });
  });

  test("ChatGLM, Baichuan, Qwen 1, InternLM 2, OLMo 1", () => {
    expect(
      rolesOf({
        "transformer.embedding.word_embeddings.weight": [V, H],
        "transformer.encoder.layers.0.self_attention.query_key_value.weight": [
          384,
          H,
        ],
        "transformer.encoder.layers.0.self_attention.query_key_value.bias": [
          384,
        ],
        "transformer.output_layer.weight": [V, H],
        "transformer.rotary_pos_emb.inv_freq": [32],
        "model.layers.0.self_attn.W_pack.weight": [3 * H, H],
        "transformer.h.0.attn.c_attn.weight": [3 * H, H],
        "transformer.h.0.attn.c_attn.bias": [3 * H],
        "transformer.h.0.attn.c_proj.weight": [H, H],
        "transformer.h.0.mlp.w1.weight": [512, H],
        "model.layers.0.attention.wqkv.weight": [512, H],
        "model.transformer.ff_out.weight": [V, H],
        "model.transformer.blocks.0.ff_out.weight": [H, 512],
      }),
    ).toMatchObject({
      "transformer.embedding.word_embeddings.weight": "keep",
      "transformer.encoder.layers.0.self_attention.query_key_value.weight":
        "linear",
      "transformer.output_layer.weight": "keep",
      "model.layers.0.self_attn.W_pack.weight": "linear",
      "transformer.h.0.attn.c_attn.weight": "linear",
      "transformer.h.0.attn.c_proj.weight": "linear",
      "transformer.h.0.mlp.w1.weight": "linear",
      "model.layers.0.attention.wqkv.weight": "linear",
      "model.transformer.ff_out.weight": "keep",
      "model.transformer.blocks.0.ff_out.weight": "linear",
    });
  });

  test("heads: at the top, of a norm and a layer, told by the table of tokens", () => {
    const keep = {
      "emb.weight": [V, H],
      "head.weight": [V, H],
      "lm_head.ln.weight": [H],
      "lm_head.linear.weight": [V, H],
      // timm's, of classes.
      "head.bias": [1000],
    };
    const packed = {
      // RoBERTa's, before the head itself.
      "lm_head.dense.weight": [H, H],
      "blocks.0.head.weight": [H, H],
      "blocks.0.att.output.weight": [H, H],
      "blocks.0.ffn.key.weight": [4 * H, H],
    };
    const roles = rolesOf({ ...keep, ...packed });
    for (const name of Object.keys(keep))
      expect([name, roles[name]]).toEqual([name, "keep"]);
    for (const name of Object.keys(packed))
      expect([name, roles[name]]).toEqual([name, "linear"]);
    expect(
      rolesOf({
        "head.weight": [1000, H],
        "blocks.0.attn.qkv.weight": [3 * H, H],
      }),
    ).toEqual({
      "head.weight": "keep",
      "blocks.0.attn.qkv.weight": "linear",
    });
  });

  test("multi-token prediction: its own head and embedding stay, its projection does not", () => {
    expect(
      rolesOf({
        "model.layers.61.eh_proj.weight": [H, 2 * H],
        "model.layers.61.enorm.weight": [H],
        "model.layers.61.embed_tokens.weight": [V, H],
        "model.layers.61.shared_head.head.weight": [V, H],
      }),
    ).toEqual({
      "model.layers.61.eh_proj.weight": "linear",
      "model.layers.61.enorm.weight": "keep",
      "model.layers.61.embed_tokens.weight": "keep",
      "model.layers.61.shared_head.head.weight": "keep",
    });
  });

  test("a square Conv1D is told by what stands beside it", () => {
    const block = {
      "h.0.attn.c_attn.weight": [H, 3 * H],
      "h.0.attn.c_attn.bias": [3 * H],
      "h.0.attn.c_proj.weight": [H, H],
      "h.0.attn.c_proj.bias": [H],
      // As wide within as without.
      "h.0.mlp.c_fc.weight": [H, H],
      "h.0.mlp.c_fc.bias": [H],
      "h.0.crossattention.q_attn.weight": [H, H],
    };
    expect(rolesOf(block)).toMatchObject({
      "h.0.attn.c_proj.weight": "linear-in-out",
      "h.0.mlp.c_fc.weight": "linear-in-out",
      // Without a bias it is no Conv1D.
      "h.0.crossattention.q_attn.weight": "linear",
    });
  });

  test.each([
    // gate and up meet down in the experts' width, 96: the order of both follows
    [[8, 2 * 96, H], [8, H, 96], "linear"],
    [[8, H, 2 * 96], [8, 96, H], "linear-in-out"],
    // 2 · 128 is the model's width too
    [[8, H, H], [8, H, 128], "linear"],
    [[8, H, H], [8, 128, H], "linear-in-out"],
    // as wide as the model
    [[8, 2 * H, H], [8, H, H], "linear"],
    [[8, H, 2 * H], [8, H, H], "linear-in-out"],
  ] as const)("stacked experts %j and %j are %s", (into, outOf, role) => {
    const prefix = "model.layers.0.mlp.experts";
    expect(
      rolesOf({
        [`${prefix}.gate_up_proj`]: into,
        [`${prefix}.down_proj`]: outOf,
      }),
    ).toEqual({
      [`${prefix}.gate_up_proj`]: role,
      [`${prefix}.down_proj`]: role,
    });
  });

  test.each([
    ["htoh4", "h4toh"],
    ["h_to_4h", "4h_to_h"],
    ["linear_1", "linear_2"],
    ["input_linear", "output_linear"],
    ["w_in", "w_out"],
    ["fc1", "fc2"],
    ["c_fc", "c_proj"],
    ["wi", "wo"],
    ["v1", "w2"],
    ["up_gate_proj", "down_proj"],
  ])("stacked experts of layers %s and %s", (into, outOf) => {
    const of = (layer: string) => `layers.0.mlp.experts.${layer}.weight`;
    const config = { hidden_size: H };
    for (const [shapes, role] of [
      [
        [
          [8, 512, H],
          [8, H, 512],
        ],
        "linear",
      ],
      [
        [
          [8, H, 512],
          [8, 512, H],
        ],
        "linear-in-out",
      ],
    ] as const)
      expect(
        rolesOf({ [of(into)]: shapes[0], [of(outOf)]: shapes[1] }, config),
      ).toEqual({ [of(into)]: role, [of(outOf)]: role });
  });

  test("experts without a gate need the model's width, from its config", () => {
    const tensors = {
      "layers.0.moe.up_proj.weight": [8, 512, H],
      "layers.0.moe.down_proj.weight": [8, H, 512],
    };
    const text = (hidden_size: number) => ({ text_config: { hidden_size } });
    expect(Object.values(rolesOf(tensors, text(H)))).toEqual([
      "linear",
      "linear",
    ]);
    expect(Object.values(rolesOf(tensors, text(512)))).toEqual([
      "linear-in-out",
      "linear-in-out",
    ]);
  });

  test("recurrent layers, codebooks, adapters' scales and quantized files' parts stay", () => {
    const kept = rolesOf({
      "encoder.lstm.weight_ih_l0": [512, 128],
      "quantizer.layers.0.codebook.embed": [1024, 128],
      "rwkv.blocks.0.attention.time_mix_key": [1, 1, H],
      "model.layers.0.mlp.down_proj.weight_scale_inv": [2, 4],
      "model.layers.0.mamba.A_log": [512, 16],
      "backbone.layers.0.mixer.conv1d.weight": [512, 1, 4],
      "h.0.layer_scale.gamma": [1, 64],
    });
    expect(new Set(Object.values(kept))).toEqual(new Set(["keep"]));
  });
});

describe("kinds of names, whoever's model has them", () => {
  const H = 256;
  const V = 4096;
  type Expected = Record<string, readonly [Role, ...shape: number[]]>;
  const KINDS: [kind: string, config: ModelConfig, tensors: Expected][] = [
    [
      "experts as rows of one matrix, and the way out of them turned",
      {},
      {
        "blocks.0.ffn.experts.mlp.w1": ["linear", 8 * 512, H],
        "blocks.0.ffn.experts.mlp.v1": ["linear", 8 * 512, H],
        "blocks.0.ffn.experts.mlp.w2": ["linear-in-out", 8 * 512, H],
        "blocks.0.ffn.experts.bias": ["keep", H],
        "blocks.0.moe.gate": ["keep", 8, H],
      },
    ],
    [
      "stacks by other names, [in, out]",
      { hidden_size: H },
      {
        "layers.5.mlp.experts.wi_gate": ["linear-in-out", 8, H, 512],
        "layers.5.mlp.experts.wi_up": ["linear-in-out", 8, H, 512],
        "layers.5.mlp.experts.wo": ["linear-in-out", 8, 512, H],
        "layers.6.moe.experts.w_in": ["linear-in-out", 8, H, 512],
        "layers.6.moe.experts.w_out": ["linear-in-out", 8, 512, H],
        "layers.7.moe.experts.c_fc": ["linear-in-out", 8, H, 512],
        "layers.7.moe.experts.c_proj": ["linear-in-out", 8, 512, H],
      },
    ],
    [
      "stacks by other names, [out, in]",
      { hidden_size: H },
      {
        "layers.0.experts.batched_fc1_w": ["linear", 8, 512, H],
        "layers.0.experts.batched_fc2_w": ["linear", 8, H, 512],
        "layers.1.experts.gate": ["linear", 8, 512, H],
        "layers.1.experts.up": ["linear", 8, 512, H],
        "layers.1.experts.down": ["linear", 8, H, 512],
        "layers.2.experts.dense_h_to_4h.weight": ["linear", 8, 4 * H, H],
        "layers.2.experts.dense_4h_to_h.weight": ["linear", 8, H, 4 * H],
        // A convolution that widens, and no expert.
        "decoder.up.0.weight": ["keep", 512, H, 16],
      },
    ],
    [
      "convolutions of experts, and stacks of experts beside convolutions",
      {},
      {
        "layers.0.moe_conv.up.weight": ["keep", 512, H, 3],
        "layers.0.moe_conv.down.weight": ["keep", H, 512, 3],
        "layers.1.experts.conv1d.gate_proj.weight": ["keep", 512, H, 3],
        "layers.2.convs.up_proj.weight": ["keep", 512, H, 3],
        "layers.3.convolution.w1.weight": ["keep", 512, 1, 4],
        "conv_layers.3.moe.up": ["linear", 8, 512, H],
        "conv_layers.3.moe.down": ["linear", 8, H, 512],
        "layers.4.conv_block.experts.w1.weight": ["linear", 8, 512, H],
      },
    ],
    [
      "routers by other names, beside what they choose",
      {},
      {
        "layers.0.moe.gating.weight": ["keep", 4, H],
        "layers.1.mlp.gates.0.wg.weight": ["keep", 4, H],
        "layers.2.mlp.switch.weight": ["keep", 4, H],
        "layers.2.mlp.experts.up_proj": ["linear", 4, 512, H],
        "layers.3.mlp.expert_selector.weight": ["keep", 3, H],
        "layers.3.mlp.experts.2.up_proj.weight": ["linear", 512, H],
        // In Paddle's order.
        "layers.3.mlp.picker.weight": ["keep", H, 3],
        "layers.3.mlp.shared_gate.weight": ["keep", 1, H],
        "layers.3.mlp.shared_expert.up_proj.weight": ["linear", 512, H],
      },
    ],
    [
      "a router alone, of as many as config.json says",
      { moe_num_experts: [64, 32] },
      {
        "layers.1.mlp.gate.weight": ["keep", H, 64],
        "layers.2.mlp.gate.weight": ["linear", H, 65],
      },
    ],
    [
      "heads of attention, as many as experts, beside those",
      { num_experts: 128 },
      {
        "layers.0.experts.up_proj": ["linear", 128, 512, H],
        "layers.0.k_proj.weight": ["linear", 128, H],
        "layers.0.router.proj.weight": ["keep", 128, H],
      },
    ],
    [
      "coefficients of what is added",
      {},
      {
        "layers.0.mlp.coefficient.weight": ["keep", 1, H],
        "layers.0.altup.prediction_coefs.weight": ["keep", 64, H],
        "layers.0.altup.correction_coefs.weight": ["keep", 64, H],
      },
    ],
    [
      "adapters beside the layers that they are added to",
      {},
      {
        "layers.0.q_proj.base_layer.weight": ["linear", H, H],
        "layers.0.q_proj.lora_A.weight": ["keep", 64, H],
        "layers.0.q_proj.lora_B.default.weight": ["keep", H, 64],
        "unet.to_q.lora.down.weight": ["keep", 64, H],
        "lora_unet_to_q.lora_up.weight": ["keep", H, 64],
        "layers.0.mlp.gate.base_layer.weight": ["keep", 8, H],
        "layers.0.mlp.experts.0.up_proj.base_layer.weight": ["linear", 512, H],
        // RWKV's, which is a layer of the model.
        "layers.0.attn.w_lora.lora.0.weight": ["linear", 64, H],
      },
    ],
    [
      "heads and tables in wrappers",
      {},
      {
        "lm_head.modules_to_save.default.weight": ["keep", V, H],
        "lm_head.original_module.weight": ["keep", V, H],
        "model.embed_tokens.base_layer.weight": ["keep", V, H],
        "module.lm_head._fsdp_wrapped_module.weight": ["keep", V, H],
        "score.modules_to_save.default.weight": ["keep", 2, H],
        "_orig_mod.layers.0.up_proj.weight": ["linear", 512, H],
        "_orig_mod.layers.1.mlp.switch.weight": ["keep", 3, H],
        "_orig_mod.layers.1.mlp.experts.2.up_proj.weight": ["linear", 512, H],
      },
    ],
    [
      "heads by other names: at the top, a row for each token",
      { vocab_size: V, hidden_size: H },
      {
        "lm_loss.weight": ["keep", V, H],
        "llm_decoder.weight": ["keep", V, H],
        "to_logits.weight": ["keep", V, H],
        "vocab_projector.weight": ["keep", V, H],
        "medusa_head.0.1.weight": ["keep", V, H],
        "medusa_head.0.0.linear.weight": ["linear", H, H],
        "generator.proj.weight": ["keep", V, H],
        "pred_layer.proj.weight": ["keep", V, H],
        "projector.weight": ["linear", V, V],
        "audio_tower.proj.weight": ["linear", V, H],
      },
    ],
    [
      "heads of judges",
      {},
      {
        "v_head.summary.weight": ["keep", 1, H],
        "reward_head.weight": ["keep", 1, H],
        "rm_head.weight": ["keep", 1, H],
      },
    ],
    [
      "tables by other names",
      {},
      {
        "vte.weight": ["keep", V, H],
        "transformer.w.weight": ["keep", V, H],
        "layers.0.attn.w.weight": ["linear", H, H],
      },
    ],
    [
      "attention whose three projections are parameters of their own",
      {},
      {
        "attn.q_proj_weight": ["linear", H, H],
        "attn.k_proj_weight": ["linear", H, 128],
        "attn.v_proj_weight": ["linear", H, 128],
        "attn.bias_k": ["keep", 1, 1, H],
      },
    ],
    [
      "a modulation, which is no norm",
      {},
      { "final_layer.adaLN_modulation.1.weight": ["linear", 512, H] },
    ],
  ];

  test.each(KINDS)("%s", (_, config, tensors) => {
    const shapes = Object.entries(tensors).map(
      ([name, [, ...shape]]) => [name, shape] as const,
    );
    const roles = Object.entries(tensors).map(([name, [role]]) => [name, role]);
    expect(rolesOf(Object.fromEntries(shapes), config)).toEqual(
      Object.fromEntries(roles),
    );
  });
});

describe("what becomes of a linear layer", () => {
  const decide = (shape: number[], dtype: Dtype = "BF16") =>
    decideRoles([
      { name: "model.layers.0.mlp.up_proj.weight", dtype, shape },
    ])[0]!;

  test.each([
    [[64, 32], true, "a linear layer, [out, in]"],
    [
      [64, 4],
      false,
      "a linear layer, [out, in]; rows of 4 are shorter than a block of 32",
    ],
    [
      [64, 48],
      false,
      "a linear layer, [out, in]; rows of 48 are not whole blocks of 32, and no loader takes padded ones",
    ],
    [[64, 0], false, "a linear layer, [out, in]; without elements"],
  ])("%j: packed %s, %s", (shape, packed, reason) => {
    expect(decide(shape)).toEqual({
      role: "linear",
      kind: "linear",
      packed,
      reason,
    });
  });

  test("an [in, out] weight is judged by its in", () => {
    const block = (input: number) =>
      decideRoles([
        floats("h.0.mlp.c_fc.weight", [input, 96]),
        floats("h.0.mlp.c_fc.bias", [96]),
      ])[0]!;
    expect(block(64)).toMatchObject({ role: "linear-in-out", packed: true });
    expect(block(48)).toMatchObject({ role: "linear-in-out", packed: false });
  });

  test("integers and scales are not weights", () => {
    expect(decide([64, 64], "F8_E4M3").role).toBe("linear");
    for (const dtype of ["U8", "I8", "F8_E8M0", "F4", "I64"] as const)
      expect(decide([64, 64], dtype)).toMatchObject({
        role: "keep",
        reason: "not floats",
      });
  });
});
