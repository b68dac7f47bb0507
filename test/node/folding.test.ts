/** A rotation folded into a model changes its weights and not what it computes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { foldPlan } from "../../src/formats/folding/fold-plan.ts";
import {
  foldedBlocks,
  foldedFloats,
} from "../../src/formats/folding/folded-sections.ts";
import { foldRows } from "../../src/formats/folding/fold-rows.ts";
import {
  packBlocks,
  roundingKey,
} from "../../src/formats/blocks/block-pieces.ts";
import { schemeOf } from "../../src/formats/blocks/scheme.ts";
import type { Section } from "../../src/formats/stream/conversion.ts";
import { HoldPool } from "../../src/formats/stream/hold-pool.ts";
import type { TensorHead } from "../../src/formats/tensor.ts";
import { llamaLogits } from "../reference/llama.ts";
import { Golden } from "../support/golden.ts";
import { arena } from "../support/kernels-node.ts";
import { normals } from "../support/random.ts";

const LLAMA = join(import.meta.dirname, "../fixtures/hf/llama");
const model = new Golden("hf/llama/model.safetensors");
const logits = new Golden("hf/llama/logits.safetensors");
const config = JSON.parse(readFileSync(join(LLAMA, "config.json"), "utf8"));
const heads: TensorHead[] = model
  .names()
  .map((name) => ({ name, dtype: "F32", shape: model.shape(name) }));

type Weights = Map<string, Float32Array>;

const original: Weights = new Map(
  model.names().map((name) => [name, model.f32(name)]),
);

function folded(
  weights: Weights,
  tensors: readonly TensorHead[],
  from: Record<string, unknown>,
): Weights {
  const { folds, head, normOffset } = foldPlan(tensors, from);
  const result: Weights = new Map();
  const fold = (
    name: string,
    source: string,
    own: (typeof head & {})["fold"],
  ) => {
    const { shape } = tensors.find((tensor) => tensor.name === source)!;
    const columns = shape.at(-1)!;
    const x = weights.get(source)!;
    const norm = own.norm && weights.get(own.norm)!.map((g) => g + normOffset);
    arena.scope(() => {
      const pointer = arena.copyIn(x);
      foldRows(pointer, x.length / columns, columns, own, 7, norm || undefined);
      result.set(name, arena.f32(pointer, x.length).slice());
    });
  };
  for (const [name, own] of folds) fold(name, name, own);
  if (head) fold(head.name, head.source, head.fold);
  return result;
}

/** Largest difference of any logit, over the largest logit. */
function difference(a: Float64Array[], b: Float64Array[]): number {
  const [x, y] = [a, b].map((rows) => rows.flatMap((row) => [...row]));
  const top = Math.max(...x!.map(Math.abs));
  return Math.max(...x!.map((value, i) => Math.abs(value - y![i]!))) / top;
}

const sequence = logits.i32("tokens").subarray(0, 24);
const run = (weights: Weights) =>
  llamaLogits(config, (name) => weights.get(name), sequence);
const exact = run(original);

test("the twin of Llama's forward pass gives transformers' logits", () => {
  const golden = logits.f32("logits");
  const rows = exact.map((row, t) =>
    Float64Array.from(golden.subarray(t * row.length, (t + 1) * row.length)),
  );
  expect(difference(rows, exact)).toBeLessThan(1e-5);
});

test("Llama computes the same, with other weights", () => {
  // The fixture's norms are all ones; these are not.
  const weights = new Map(
    Array.from(original, ([name, x]) => [
      name,
      name.includes("norm") ? x.map((_, i) => 0.5 + (i % 7) / 4) : x,
    ]),
  );
  const rotated = folded(weights, heads, config);
  expect(difference(run(weights), run(rotated))).toBeLessThan(1e-5);
  for (const [name, x] of rotated) {
    const before = weights.get(name)!;
    const same = x.every((value, i) => value === before[i]);
    expect(same, name).toBe(false);
    if (name.includes("norm")) expect(new Set(x), name).toEqual(new Set([1]));
  }
});

test("biases of what writes to the stream, and of v, are rotated along", () => {
  const biases = new Map(
    [0, 1].flatMap((layer) =>
      Object.entries({
        "self_attn.q_proj": 64,
        "self_attn.v_proj": 32,
        "self_attn.o_proj": 64,
        "mlp.gate_proj": 192,
        "mlp.down_proj": 64,
      }).map(([name, length]): [string, Float32Array] => [
        `model.layers.${layer}.${name}.bias`,
        Float32Array.from({ length }, (_, i) => Math.sin(i + layer)),
      ]),
    ),
  );
  const more = Array.from(biases, ([name, x]): TensorHead => {
    return { name, dtype: "F32", shape: [x.length] };
  });
  const weights = new Map([...original, ...biases]);
  const rotated = folded(weights, [...heads, ...more], config);
  expect(difference(run(weights), exact)).toBeGreaterThan(0.1);
  expect(difference(run(weights), run(rotated))).toBeLessThan(1e-5);
});

test("a tied head comes apart, and the config says so", () => {
  const tied = heads.filter(({ name }) => name !== "lm_head.weight");
  const plan = foldPlan(tied, { ...config, tie_word_embeddings: true });
  expect(plan.head).toEqual({
    name: "lm_head.weight",
    source: "model.embed_tokens.weight",
    fold: { norm: "model.norm.weight", columns: 32 },
  });
  expect(plan.config.tie_word_embeddings).toBe(false);
  const weights = new Map(original);
  weights.set("lm_head.weight", original.get("model.embed_tokens.weight")!);
  weights.set(
    "model.norm.weight",
    original.get("model.norm.weight")!.map((_, i) => 1 + (i % 3)),
  );
  const rotated = folded(weights, tied, config);
  expect(difference(run(weights), run(rotated))).toBeLessThan(1e-5);
});

test("a tensor of many slabs is folded as a whole one, to floats and to blocks", () => {
  const shape = [96, 2048];
  const length = 96 * 2048;
  const x = normals(length, 5);
  const norm = Float32Array.from({ length: 2048 }, (_, i) => 1 + (i % 5));
  const fold = { columns: 32, rows: 32 } as const;
  const whole = arena.scope(() => {
    const pointer = arena.copyIn(x);
    foldRows(pointer, 96, 2048, fold, 7, norm);
    return arena.f32(pointer, length).slice();
  });
  const tensor = { shape, dtype: "F32", fold, seed: 7, norm } as const;
  const bytesOf = (section: Section): number[] => {
    expect(section.pieces).toBe(3);
    const input = new Uint8Array(x.slice().buffer);
    const out: number[] = [];
    for (let [piece, at] = [0, 0]; piece < section.pieces; piece++) {
      const end = at + section.pieceBytes(piece);
      for (const chunk of section.convert(piece, input.subarray(at, end)))
        for (const byte of chunk) out.push(byte);
      at = end;
    }
    return out;
  };
  expect(bytesOf(foldedFloats(tensor))).toEqual([
    ...new Uint8Array(whole.buffer),
  ]);
  for (const rounding of ["nearest-even", "stochastic"] as const) {
    const scheme = schemeOf({ rounding });
    const key = roundingKey(3, 4);
    const [elements, scales] = arena.scope(() => {
      const piece = { start: 0, count: length, rows: 1, real: length };
      const packed = packBlocks(arena.copyIn(whole), piece, scheme, key);
      return [
        [...arena.u8(packed.elements, length / 2)],
        [...arena.u8(packed.scales, length / 32)],
      ];
    });
    const blocks = foldedBlocks(tensor, scheme, key, new HoldPool(), 0);
    expect(bytesOf(blocks)).toEqual([...elements!, ...scales!]);
  }
});

test("Gemma's norms are kept less 1", () => {
  expect(foldPlan(heads, { ...config, model_type: "gemma" }).normOffset).toBe(
    1,
  );
  expect(foldPlan(heads, config).normOffset).toBe(0);
});

test.each([
  [
    "norms that are not RMS norms",
    heads,
    { ...config, rms_norm_eps: undefined },
    "a config.json with `rms_norm_eps`",
  ],
  [
    "norms behind the layers",
    [
      ...heads,
      {
        name: "model.layers.0.post_feedforward_layernorm.weight",
        dtype: "F32",
        shape: [64],
      },
    ],
    config,
    "model.layers.0.post_feedforward_layernorm.weight, whose part",
  ],
  [
    "a norm that is missing",
    heads.filter(({ name }) => name !== "model.norm.weight"),
    config,
    "a tensor model.norm.weight",
  ],
  [
    "a width that segments do not divide",
    heads.map((head) =>
      head.name === "model.embed_tokens.weight"
        ? { ...head, shape: [320, 80] }
        : head,
    ),
    config,
    "a width that 32 divides",
  ],
] as const)("%s are refused", (_, tensors, from, message) => {
  expect(() => foldPlan(tensors as TensorHead[], from)).toThrow(message);
});
