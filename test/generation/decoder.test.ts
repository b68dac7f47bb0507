/** A decoder with its cache is the model: its logits are those of the whole forward pass. */
import { arena } from "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import type { PanelWeights } from "../../src/generation/panel-weights.ts";
import { openTextModel } from "../../src/generation/open-model.ts";
import type { WeightFormat } from "../../src/kernels/decode.ts";
import { modelOf } from "../../src/model/architectures.ts";
import { flatParameters } from "../../src/model/flat-vector.ts";
import { KeyValueCache } from "../../src/model/key-value-cache.ts";
import { PackedWeights } from "../../src/model/packed-weights.ts";
import type { TextModel } from "../../src/generation/writer.ts";
import {
  type Files,
  folderIn,
  gpt2Directory,
  pinnedTexts,
  gpt2Tensors,
} from "../support/text-models.ts";
import { PINNED_TEXTS } from "../support/pinned-texts.ts";

const SHAPE = { layers: 2, width: 64, heads: 4, context: 24, vocabulary: 256 };
const ODD = { layers: 1, width: 18, heads: 3, context: 24, vocabulary: 256 };
const TOKENS = Array.from({ length: 21 }, (_, i) => (i * 37 + 11) % 256);

async function loaded(files: Files, format: WeightFormat): Promise<TextModel> {
  return (await openTextModel(folderIn(files))).load(format);
}

/** Logits after each token, taken in in groups of these sizes. */
function decoded(
  { decoder, weights }: TextModel,
  tokens: readonly number[],
  groups: readonly number[],
): Float32Array[] {
  const cache = new KeyValueCache(decoder, tokens.length);
  const rows = [];
  for (
    let at = 0, i = 0;
    at < tokens.length;
    at += groups[i++ % groups.length]!
  )
    rows.push(
      decoder.forward(
        weights,
        cache,
        tokens.slice(at, at + groups[i % groups.length]!),
      ),
    );
  cache.free();
  return rows;
}

/** [V] after each token, of a whole forward pass in f32. */
function forward(shape: typeof SHAPE, values: (name: string) => Float32Array) {
  const model = modelOf(shape);
  return arena.scope(() => {
    const base = arena.allocZeroedF32(model.table.length);
    for (const { name, offset, length } of model.table.tensors)
      arena.f32(base + 4 * offset, length).set(values(name));
    const pass = {
      recipe: "f32",
      parameters: flatParameters(base),
      packedWeights: new PackedWeights(),
    } as const;
    const all = model.logits(pass, Int32Array.from(TOKENS), 1);
    const V = shape.vocabulary;
    return TOKENS.map((_, t) => all.subarray(t * V, (t + 1) * V));
  });
}

function furthest(a: Float32Array, b: Float32Array): number {
  const largest = Math.max(...b.map(Math.abs));
  return Math.max(...a.map((x, i) => Math.abs(x - b[i]!))) / largest;
}

describe("logits with the cache", () => {
  test.each([
    ["of whole panels", SHAPE],
    ["of odd sizes", ODD],
  ])("are those of the whole forward pass in f32: %s", async (_, shape) => {
    const model = await loaded(gpt2Directory(shape), "f32");
    const values = new Map(
      gpt2Tensors(shape).map((each) => [each.name, each.values]),
    );
    const expected = forward(shape, (name) => values.get(name)!);
    const rows = decoded(model, TOKENS, [1]);
    for (const [t, row] of rows.entries())
      expect(furthest(row, expected[t]!)).toBeLessThan(2e-6);
  });

  test("of packed weights are those of the values that the codes stand for", async () => {
    const model = await loaded(gpt2Directory(SHAPE), "mxfp4");
    const expected = forward(SHAPE, (name) =>
      unpacked(model.weights as PanelWeights, name),
    );
    for (const [t, row] of decoded(model, TOKENS, [1]).entries())
      expect(furthest(row, expected[t]!)).toBeLessThan(5e-4);
    const plain = decoded(
      await loaded(gpt2Directory(SHAPE), "f32"),
      TOKENS,
      [1],
    );
    expect(furthest(plain[20]!, expected[20]!)).toBeGreaterThan(1e-2);
  });

  test.each(["f32", "mxfp4"] as const)(
    "do not depend on how many tokens come at once: %s",
    async (format) => {
      const model = await loaded(gpt2Directory(SHAPE), format);
      const one = decoded(model, TOKENS, [1]);
      expect(decoded(model, TOKENS, [21])).toEqual([one[20]]);
      expect(decoded(model, TOKENS, [5, 16])).toEqual([one[4], one[20]]);
    },
  );
});

/** A packed tensor as the flat vector has it. */
function unpacked(weights: PanelWeights, name: string): Float32Array {
  const tensor = modelOf(SHAPE).table.tensors.find(
    (each) => each.name === name,
  )!;
  if (tensor.shape.length === 1 || name.endsWith("wpe.weight"))
    return weights.floats(name);
  const { rows, columns } = weights.matrix(name);
  const out = new Float32Array(rows * columns);
  arena.scope(() => {
    const row = arena.allocF32(columns);
    for (let r = 0; r < rows; r++) {
      weights.row(row, name, r);
      const values = arena.f32(row, columns);
      for (let k = 0; k < columns; k++)
        out[name.endsWith("wte.weight") ? r * columns + k : k * rows + r] =
          values[k]!;
    }
  });
  return out;
}

test("what is written here is written in Node", async () => {
  expect(await pinnedTexts()).toEqual(PINNED_TEXTS);
});
