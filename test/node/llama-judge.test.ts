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
import type { ModelShape } from "../../src/api/types.ts";
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
import { judge } from "../judges/install.ts";
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
/** Half the sum of |p − q| over the vocabulary, the most over all positions. */
const MXFP4_TOLERANCE = 0.02;
const F32_TOLERANCE = 0.002;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-edge-judge-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

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
  return Array.from(TOKENS, (_, row) => {
    const own = flat.subarray(row * 256, (row + 1) * 256);
    const top = Math.max(...own);
    const powers = Float64Array.from(own, (x) => Math.exp(x - top));
    const sum = powers.reduce((all, x) => all + x, 0);
    return powers.map((x) => x / sum);
  });
}

/** The part of node-llama-cpp that is used. */
type Llama = {
  loadModel(options: object): Promise<{
    createContext(options: object): Promise<{
      getSequence(): {
        controlledEvaluate(
          input: [number, object][],
        ): Promise<
          ({ next: { probabilities?: Map<number, number> } } | undefined)[]
        >;
      };
    }>;
    dispose(): Promise<void>;
  }>;
  dispose(): Promise<void>;
};

async function theirs(file: Uint8Array, name: string): Promise<Float64Array[]> {
  const path = join(folder, name);
  writeFileSync(path, file);
  const module = (await import(
    join(judge("node-llama-cpp"), "dist/index.js")
  )) as { getLlama(options: object): Promise<Llama> };
  const llama = await module.getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    logLevel: "error",
    maxThreads: 1,
  });
  try {
    const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
    const context = await model.createContext({ contextSize: SHAPE.context });
    const results = await context
      .getSequence()
      .controlledEvaluate(
        Array.from(TOKENS, (token) => [
          token,
          { generateNext: { probabilities: true } },
        ]),
      );
    await model.dispose();
    return results.map((result) =>
      Float64Array.from(
        { length: 256 },
        (_, token) => result!.next.probabilities!.get(token) ?? 0,
      ),
    );
  } finally {
    await llama.dispose();
  }
}

function distance(
  a: readonly Float64Array[],
  b: readonly Float64Array[],
): number {
  const each = a.map(
    (p, row) => p.reduce((sum, x, i) => sum + Math.abs(x - b[row]![i]!), 0) / 2,
  );
  return Math.max(...each);
}

describe.skipIf(process.arch !== "x64" || process.platform !== "linux")(
  "llama.cpp",
  () => {
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

      const control = distance(await theirs(decoded, "f32.gguf"), expected);
      const judged = distance(await theirs(quantized, "mxfp4.gguf"), expected);
      // The head in 8 bits moves predictions far less than in 4, but moves them.
      const with8 = distance(await theirs(tokens8, "q8.gguf"), ours(original));
      const apart = distance(ours(original), expected);
      console.log(
        `total variation: f32 ${control.toFixed(5)}, MXFP4 ${judged.toFixed(5)}, its head Q8_0 ${with8.toFixed(5)}; of the weights before ${apart.toFixed(5)}`,
      );
      expect(control).toBeLessThan(F32_TOLERANCE);
      expect(judged).toBeLessThan(MXFP4_TOLERANCE);
      expect(with8).toBeLessThan(apart);
      // Values decoded wrongly would be off by at least what quantizing does to them.
      expect(apart).toBeGreaterThan(5 * MXFP4_TOLERANCE);
    });
  },
);
