/** A model's file: what is packed unless patterns say otherwise. */
import "../support/kernels.ts";
import { expect, test } from "vitest";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { planAnalysis } from "../../src/formats/operations/analyze-file.ts";
import { planQuantize } from "../../src/formats/operations/quantize-file.ts";
import { run } from "../../src/formats/stream/conversion.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";

function fileOf(shapes: Record<string, number[]>): Uint8Array {
  const heads = Object.entries(shapes).map(([name, shape]) => ({
    name,
    shape,
    dtype: "F32" as const,
  }));
  const { head, dataBytes } = writeHead(heads, new Map());
  const file = new Uint8Array(head.length + dataBytes);
  file.set(head);
  return file;
}

const LAYER = {
  "lm_head.weight": [64, 32],
  "model.embed_tokens.weight": [64, 32],
  "model.layers.0.input_layernorm.weight": [32],
  "model.layers.0.mlp.gate.weight": [4, 32],
  "model.layers.0.mlp.up_proj.weight": [64, 32],
  "model.layers.0.mlp.down_proj.weight": [32, 48],
};

async function packedOf(
  shapes: Record<string, number[]>,
  include: string[] = [],
): Promise<string[]> {
  const file = fileOf(shapes);
  const source = sourceOf(file);
  const input = await readTensorFile(source, file.length);
  const conversion = planQuantize(input, {
    scheme: DEFAULT_SCHEME,
    selection: { include, exclude: [] },
  });
  const chunks: number[] = [];
  for await (const chunk of run(conversion, source)) chunks.push(...chunk);
  const { tensors } = readSafetensors(Uint8Array.from(chunks));
  return tensors
    .filter(({ name }) => name.endsWith("_blocks"))
    .map(({ name }) => name.replace(/_blocks$/, ""));
}

test("weights of linear layers in whole blocks, and nothing else", async () => {
  expect(await packedOf(LAYER)).toEqual(["model.layers.0.mlp.up_proj.weight"]);
});

test("what `include` names, whatever it is", async () => {
  expect(await packedOf(LAYER, ["*gate*", "*norm*"])).toEqual([
    "model.layers.0.input_layernorm.weight",
    "model.layers.0.mlp.gate.weight",
  ]);
  expect(await packedOf(LAYER, ["*"])).toHaveLength(6);
});

test("a weight that is stored [in, out] is not cut along its out", async () => {
  const conv1d = {
    "h.0.attn.c_attn.weight": [32, 96],
    "h.0.attn.c_attn.bias": [96],
  };
  await expect(packedOf(conv1d)).rejects.toMatchObject({
    code: "nothing_to_convert",
    message: expect.stringContaining("a linear layer, [in, out]"),
  });
});

test("all floats of a file that is no model's", async () => {
  expect(await packedOf({ a: [64], "b.weight": [2, 32], norm: [32] })).toEqual([
    "a",
    "b.weight",
    "norm",
  ]);
});

test("an analysis looks at the same, and says why of the others", async () => {
  const file = fileOf(LAYER);
  const source = sourceOf(file);
  const input = await readTensorFile(source, file.length);
  const { conversion, report } = planAnalysis(
    input,
    [{ name: "default", scheme: DEFAULT_SCHEME }],
    { include: [], exclude: [] },
  );
  for await (const _ of run(conversion, source));
  const { tensors, passedOver } = report();
  expect(tensors.map(({ name }) => name)).toEqual([
    "model.layers.0.mlp.up_proj.weight",
  ]);
  expect(
    Object.fromEntries(passedOver.map(({ name, reason }) => [name, reason])),
  ).toMatchObject({
    "lm_head.weight": "an output head",
    "model.layers.0.input_layernorm.weight": "a norm",
    "model.layers.0.mlp.gate.weight": "a router, which chooses experts",
    "model.layers.0.mlp.down_proj.weight":
      "a linear layer, [out, in]; rows of 48 are not whole blocks of 32, and no loader takes padded ones",
  });
});
