/**
 * llama.cpp loads a GGUF that our quantizer wrote and computes what our own forward pass does on the
 * decoded weights. It rounds activations to 8 bits where weights are MXFP4 and keeps keys and values in
 * f16, so the two agree within a tolerance, not to the bit.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SCHEME_PRESETS } from "../../src/api/presets.ts";
import type { GgufOutput } from "../../src/api/scheme.ts";
import type { ModelShape } from "../../src/api/run-config.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { planDequantize } from "../../src/formats/operations/dequantize-file.ts";
import { planQuantize } from "../../src/formats/operations/quantize-file.ts";
import { writeGgufHead } from "../../src/formats/containers/gguf-writer.ts";
import type { TensorFile } from "../../src/formats/containers/container.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { ggufValues, gpt2Gguf } from "../support/gguf-checkpoint.ts";
import { logits } from "../support/model.ts";
import { initialParameters } from "../../src/model/parameters.ts";
import { parameterTable } from "../support/model.ts";
import {
  distributions,
  HAS_LLAMA_CPP,
  nextTokens,
  stopLlamaCpp,
  totalVariation,
} from "../support/llama-cpp.ts";
import { convert } from "../support/files.ts";
import { arena } from "../support/kernels-node.ts";

const SHAPE: ModelShape = {
  layers: 2,
  width: 64,
  heads: 2,
  context: 64,
  vocabulary: 256,
};
const TOKENS = Int32Array.from({ length: 24 }, (_, i) => (i * 37 + 11) % 256);
/** Of total variation. */
const MXFP4_TOLERANCE = 0.02;
const F32_TOLERANCE = 0.002;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-edge-judge-"));
});
afterAll(async () => {
  await stopLlamaCpp();
  rmSync(folder, { recursive: true, force: true });
});

/** Weights so large that predictions are far from even. */
function parameters(): Float32Array<ArrayBuffer> {
  const table = parameterTable(SHAPE);
  const values = initialParameters(table, 5, 0, table.length);
  for (const { offset, length, group } of table.tensors) {
    if (group === "vector") continue;
    for (let i = offset; i < offset + length; i++) values[i] *= 6;
  }
  return values;
}

function ggufOf(values: Float32Array): Uint8Array<ArrayBuffer> {
  const { pairs, parameters } = gpt2Gguf(SHAPE);
  const { head, dataBytes } = writeGgufHead(
    pairs,
    parameters.map(({ tensor }) => tensor),
  );
  // 64 is a multiple of the alignment in f32, so nothing lies between the tensors.
  const data = parameters.map(
    (parameter) => new Uint8Array(ggufValues(parameter, values).buffer),
  );
  return concatenate(head.length + dataBytes, [head, ...data]);
}

const quantize = (file: TensorFile, output: GgufOutput = "mxfp4") =>
  planQuantize(file, {
    scheme: { ...DEFAULT_SCHEME, ...SCHEME_PRESETS.ggml },
    output,
    selection: { include: [], exclude: [] },
  });
const dequantize = (file: TensorFile) => planDequantize(file, "F32");

/** The flat vector of an f32 GGUF. */
async function valuesOf(file: Uint8Array): Promise<Float32Array<ArrayBuffer>> {
  const table = parameterTable(SHAPE);
  const values = new Float32Array(table.length);
  const { headBytes } = await readTensorFile(sourceOf(file), file.length);
  const data = new Float32Array(file.slice(headBytes).buffer);
  let position = 0;
  for (const { parameter, transposed } of gpt2Gguf(SHAPE).parameters) {
    const [rows, columns] = parameter.shape;
    for (let i = 0; i < parameter.length; i++) {
      const target = transposed
        ? (i % rows!) * columns! + Math.floor(i / rows!)
        : i;
      values[parameter.offset + target] = data[position++]!;
    }
  }
  return values;
}

/** Our next-token distributions, position by position. */
function ours(values: Float32Array): Float64Array[] {
  const flat = arena.scope(() =>
    logits(SHAPE, "f32", arena.copyIn(values), TOKENS, 1),
  );
  return distributions(
    Array.from(TOKENS, (_, row) => flat.subarray(row * 256, (row + 1) * 256)),
  );
}

function theirs(file: Uint8Array, name: string): Promise<Float64Array[]> {
  const path = join(folder, name);
  writeFileSync(path, file);
  return nextTokens(path, TOKENS, 256);
}

describe.skipIf(!HAS_LLAMA_CPP)("llama.cpp", () => {
  test("reads our MXFP4 GGUF with the values that we decode", async () => {
    const original = parameters();
    const plain = ggufOf(original);
    const quantized = await convert(plain, (each) => quantize(each));
    const { tensors } = await readTensorFile(
      sourceOf(quantized),
      quantized.length,
    );
    const types = new Map(tensors.map(({ name, dtype }) => [name, dtype]));
    expect(types.get("token_embd.weight")).toBe("MXFP4");
    expect(types.get("blk.1.ffn_down.weight")).toBe("MXFP4");
    expect(types.get("position_embd.weight")).toBe("F32");
    expect(types.get("blk.0.attn_norm.weight")).toBe("F32");
    const decoded = await convert(quantized, dequantize);
    const tokens8 = await convert(plain, (each) => quantize(each, "q8_0"));
    const expected = ours(await valuesOf(decoded));
    expect(await valuesOf(plain)).toEqual(original);

    const control = totalVariation(await theirs(decoded, "f32.gguf"), expected);
    const judged = totalVariation(
      await theirs(quantized, "mxfp4.gguf"),
      expected,
    );
    // The head in 8 bits moves predictions far less than in 4, but moves them.
    const with8 = totalVariation(
      await theirs(tokens8, "q8.gguf"),
      ours(original),
    );
    const apart = totalVariation(ours(original), expected);
    console.log(
      `total variation: f32 ${control.toFixed(5)}, MXFP4 ${judged.toFixed(5)}, its head Q8_0 ${with8.toFixed(5)}; of the weights before ${apart.toFixed(5)}`,
    );
    expect(control).toBeLessThan(F32_TOLERANCE);
    expect(judged).toBeLessThan(MXFP4_TOLERANCE);
    expect(with8).toBeLessThan(apart);
    // Values decoded wrongly would be off by at least what quantizing does to them.
    expect(apart).toBeGreaterThan(5 * MXFP4_TOLERANCE);
  });
});
