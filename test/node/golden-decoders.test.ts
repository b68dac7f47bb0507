/** Decoders against the logits of transformers, and of forward passes written from the models' definitions. */
import "../support/kernels-node.ts";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readFolder } from "../../src/checkpoints/read-heads.ts";
import { logarithm } from "../../src/checkpoints/yarn.ts";
import { loadWeights } from "../../src/generation/load-weights.ts";
import { decoderOf } from "../../src/model/architectures.ts";
import { KeyValueCache } from "../../src/model/key-value-cache.ts";
import { onCircle } from "../../src/model/llama/rotary-angles.ts";
import { llamaLogits } from "../reference/llama.ts";
import {
  DECODERS,
  decoderShapes,
  randomValues,
} from "../support/family-models.ts";
import { Golden } from "../support/golden.ts";
import { directoryOf, type Files, folderIn } from "../support/text-models.ts";

const FIXTURES =
  process.env.GOLDEN_DIR ?? join(import.meta.dirname, "../fixtures");
const TOKENS = Int32Array.from({ length: 24 }, (_, i) => (i * 37 + 11) % 256);

/** With what the files tell beside it: how much longer the context is than the one that was trained on. */
const longrope = (pairs: number) => ({
  rope_theta: 10_000,
  rope_type: "longrope",
  short_factor: Array.from({ length: pairs }, (_, i) => 1 + i / 9),
  long_factor: Array.from({ length: pairs }, (_, i) => 2 + i),
  factor: 4,
  original_max_position_embeddings: 24,
});

/** What llama.cpp has no graph of, or computes otherwise. */
const OWN: Record<string, (typeof DECODERS)[string]> = {
  "qwen3 with biases of attention": {
    ...DECODERS.qwen3!,
    attention_bias: true,
  },
  phi3: { ...DECODERS.llama!, model_type: "phi3" },
  "phi3 with a window, untied": {
    ...DECODERS.qwen3!,
    model_type: "phi3",
    sliding_window: 7,
  },
  "phi3 of two lists": {
    ...DECODERS.llama!,
    model_type: "phi3",
    max_position_embeddings: 96,
    original_max_position_embeddings: 24,
    rope_parameters: longrope(8),
  },
  "phi3 that turns a part of each head": {
    ...DECODERS.llama!,
    model_type: "phi3",
    rope_parameters: { rope_theta: 100, partial_rotary_factor: 0.75 },
  },
  "phi3 of two lists and a part of each head": {
    ...DECODERS.llama!,
    model_type: "phi3",
    max_position_embeddings: 96,
    original_max_position_embeddings: 24,
    rope_parameters: { ...longrope(6), partial_rotary_factor: 0.75 },
  },
  "mistral with a window": {
    ...DECODERS.llama!,
    model_type: "mistral",
    sliding_window: 7,
  },
  "qwen2 with windows of the upper layers": {
    ...DECODERS.qwen2!,
    use_sliding_window: true,
    sliding_window: 7,
    max_window_layers: 1,
  },
  "qwen3 with a window of the first layer": {
    ...DECODERS.qwen3!,
    use_sliding_window: true,
    sliding_window: 1,
    layer_types: ["sliding_attention", "full_attention"],
  },
};

/** Logits after each part of the tokens, of `lengths`; one token at a time unless told. */
async function decoded(
  files: Files,
  tokens: Int32Array,
  lengths: readonly number[] = Array.from(tokens, () => 1),
): Promise<Float32Array[]> {
  const folder = folderIn(files);
  const checkpoint = await readFolder(folder);
  const decoder = decoderOf(checkpoint.config!);
  const weights = await loadWeights(folder, checkpoint, decoder, "f32");
  const cache = new KeyValueCache(decoder, tokens.length);
  const rows = lengths.map((length) => {
    const part = tokens.subarray(cache.length, cache.length + length);
    return decoder.forward(weights, cache, Array.from(part));
  });
  cache.free();
  return rows;
}

/** The largest difference, as a share of the largest logit. */
function furthest(
  rows: readonly Float32Array[],
  expected: readonly ArrayLike<number>[],
): number {
  const top = Math.max(
    ...expected.map((row) => Math.max(...Array.from(row, Math.abs))),
  );
  return (
    Math.max(
      ...rows.map((row, t) =>
        Math.max(...row.map((x, i) => Math.abs(x - expected[t]![i]!))),
      ),
    ) / top
  );
}

describe("a decoder has the logits", () => {
  test.each(["gpt2", "llama"])("of transformers' %s", async (model) => {
    const golden = new Golden(`hf/${model}/logits.safetensors`);
    const [sequences, length, vocabulary] = golden.shape("logits") as [
      number,
      number,
      number,
    ];
    const [flat, tokens] = [golden.f32("logits"), golden.i32("tokens")];
    const files: Files = new Map(
      ["config.json", "model.safetensors"].map((name) => [
        name,
        new Uint8Array(readFileSync(join(FIXTURES, "hf", model, name))),
      ]),
    );
    for (let sequence = 0; sequence < sequences; sequence++) {
      const first = sequence * length;
      const rows = await decoded(files, tokens.subarray(first, first + length));
      const expected = rows.map((_, t) =>
        flat.subarray((first + t) * vocabulary, (first + t + 1) * vocabulary),
      );
      expect(furthest(rows, expected)).toBeLessThan(1e-5);
    }
  });

  test.each([
    "llama",
    "llama with Llama 3.1's rope",
    "mistral with a linear rope",
    "qwen2 with a yarn rope",
    "llama with a yarn rope of a length of its own",
    "qwen3 with a yarn rope of two lengths",
    "llama of a factor a pair",
    "llama of a factor a pair and larger queries",
    "qwen2",
    "qwen3",
    ...Object.keys(OWN),
    "llama with biases of attention",
    "llama with biases of the MLP",
    "llama with biases of all layers",
  ])("that the definition of %s gives", async (name) => {
    const config = (DECODERS[name] ?? OWN[name])!;
    const values = randomValues(decoderShapes(config), { normsAt: 1 });
    const tensors = [...values].map(([tensor, each]) => ({
      name: tensor,
      shape: each.shape,
      values: Float32Array.from(each.values),
    }));
    const expected = llamaLogits(
      config,
      (tensor) => values.get(tensor)?.values,
      TOKENS,
    );
    const files = directoryOf(config, tensors);
    const rows = await decoded(files, TOKENS);
    expect(furthest(rows, expected)).toBeLessThan(1e-5);
    for (const cuts of [[24], [5, 14, 5]])
      expect((await decoded(files, TOKENS, cuts)).at(-1)).toEqual(rows.at(-1));
  });
});

test("logarithms are Math.log's but for the last bits", () => {
  for (let i = 1; i < 4000; i++) {
    const x = i % 2 ? i * i * 97.3 : 1 / (i * 1.7);
    const error = Math.abs(logarithm(x) - Math.log(x));
    expect(error).toBeLessThanOrEqual(
      1e-15 * Math.max(1, Math.abs(Math.log(x))),
    );
  }
  expect(logarithm(1)).toBe(0);
});

test("cosines and sines are those of any angle that a position has", () => {
  for (let i = 0; i < 4000; i++) {
    const angle = i < 1000 ? i / 100 : (i * 131_072) / 4000 + 0.37;
    const { cosine, sine } = onCircle(angle);
    expect(Math.abs(cosine - Math.cos(angle))).toBeLessThan(1e-10);
    expect(Math.abs(sine - Math.sin(angle))).toBeLessThan(1e-10);
  }
});

test.each([
  [{ attention_bias: 1 }, "`attention_bias` false or true, got 1"],
  [
    { attention_bias: true, model_type: "mistral" },
    "`attention_bias` false, got true",
  ],
  [{ mlp_bias: true, model_type: "qwen3" }, "`mlp_bias` false, got true"],
  [
    { rope_parameters: { rope_type: "dynamic", factor: 2 } },
    '`rope_type` default, linear, llama3, yarn, longrope, got "dynamic"',
  ],
  [{ num_key_value_heads: 3 }, "a multiple of `num_key_value_heads`, got 4"],
  [{ hidden_size: "64" }, 'a whole number `hidden_size` from 1, got "64"'],
  [{ sliding_window: 8 }, "`sliding_window` null, got 8"],
])("a Llama that is computed otherwise is refused: %j", (change, expected) => {
  const config: object = JSON.parse(
    readFileSync(join(FIXTURES, "hf/llama/config.json"), "utf8"),
  );
  expect(() => decoderOf({ ...config, ...change })).toThrow(expected);
});
