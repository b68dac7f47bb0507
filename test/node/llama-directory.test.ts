/**
 * `mxfp4-edge quantize DIRECTORY --for llama.cpp`: llama.cpp loads the GGUF of every family and predicts what the
 * model does. In f32 that is what transformers, or a forward pass written from the model's definition, says; in MXFP4
 * what the file's own values in f32 do. llama.cpp looks up GELU in f16, and rounds activations to 8 bits where weights are
 * MXFP4, so the two agree within a tolerance, not to the bit.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { quantizeGguf } from "../../src/cli/quantize-gguf.ts";
import type { QuantizeOptions } from "../../src/api/tensors.ts";
import { planDequantize } from "../../src/formats/operations/dequantize-file.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { llamaLogits } from "../reference/llama.ts";
import { mambaLogits } from "../reference/mamba.ts";
import { t5Logits } from "../reference/t5.ts";
import {
  DECODERS,
  decoderShapes,
  MAMBA,
  mambaShapes,
  randomValues,
  T5,
  t5Shapes,
  writeDirectory,
} from "../support/family-models.ts";
import {
  encoderDecoderLogits,
  HAS_C_COMPILER,
} from "../support/encoder-decoder.ts";
import { convert } from "../support/files.ts";
import { TOKENIZERS } from "../support/tokenizers.ts";
import { Golden } from "../support/golden.ts";
import "../support/kernels-node.ts";
import {
  distributions,
  HAS_LLAMA_CPP,
  nextTokens,
  stopLlamaCpp,
  totalVariation,
  withLlamaCpp,
} from "../support/llama-cpp.ts";

const FIXTURES = join(import.meta.dirname, "../fixtures/hf");
const TOKENS = Int32Array.from({ length: 24 }, (_, i) => (i * 37 + 11) % 256);
const MXFP4_TOLERANCE = 0.02;
const F32_TOLERANCE = 0.0005;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-llama-directory-"));
  vi.spyOn(console, "error").mockImplementation(() => {});
});
afterAll(async () => {
  await stopLlamaCpp();
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

async function made(
  from: string,
  name: string,
  options: QuantizeOptions = {},
): Promise<string> {
  const to = join(folder, `${name}.gguf`);
  await quantizeGguf({ from, to, asJson: false, force: true, options });
  return to;
}

/** A GGUF's own values, as f32. */
async function decoded(path: string): Promise<string> {
  const to = path.replace(".gguf", "-decoded.gguf");
  const bytes = new Uint8Array(readFileSync(path));
  writeFileSync(
    to,
    await convert(bytes, (file) => planDequantize(file, "F32")),
  );
  return to;
}

async function typesOf(path: string): Promise<Map<string, string>> {
  const bytes = new Uint8Array(readFileSync(path));
  const { tensors } = await readTensorFile(sourceOf(bytes), bytes.length);
  return new Map(tensors.map(({ name, dtype }) => [name, dtype]));
}

/** In f32 as `expected` says, in MXFP4 as its own values do, which are not the same. */
async function judge(
  from: string,
  name: string,
  expected: readonly Float64Array[],
  tokens: ArrayLike<number> = TOKENS,
): Promise<void> {
  const vocabulary = expected[0]!.length;
  const f32 = await made(from, `${name}-f32`, { tensorType: ["*=f32"] });
  const exact = await nextTokens(f32, tokens, vocabulary);
  const packed = await made(from, name, { outputType: "keep" });
  const quantized = await nextTokens(packed, tokens, vocabulary);
  const own = await nextTokens(await decoded(packed), tokens, vocabulary);
  const [control, judged, apart] = [
    totalVariation(exact, expected),
    totalVariation(quantized, own),
    totalVariation(own, exact),
  ];
  console.log(
    `${name}: total variation f32 ${control.toFixed(5)}, MXFP4 ${judged.toFixed(5)}; of the weights before ${apart.toFixed(5)}`,
  );
  expect(control).toBeLessThan(F32_TOLERANCE);
  expect(judged).toBeLessThan(MXFP4_TOLERANCE);
  // Values decoded wrongly would be off by what quantizing does to them at least.
  expect(apart).toBeGreaterThan(2 * judged);
}

describe.skipIf(!HAS_LLAMA_CPP)("llama.cpp predicts as", () => {
  test.each(["gpt2", "llama", "gpt_oss"])(
    "transformers does, of its own %s",
    async (model) => {
      const golden = new Golden(`hf/${model}/logits.safetensors`);
      const [, length, vocabulary] = golden.shape("logits") as number[];
      const flat = golden.f32("logits");
      const rows = Array.from({ length: length! }, (_, t) =>
        flat.subarray(t * vocabulary!, (t + 1) * vocabulary!),
      );
      const tokens = golden.i32("tokens").subarray(0, length);
      await judge(join(FIXTURES, model), model, distributions(rows), tokens);
    },
  );

  test.each(Object.entries(DECODERS))("a decoder: %s", async (name, config) => {
    const isGemma = config.model_type.startsWith("gemma");
    const values = randomValues(decoderShapes(config), {
      normsAt: isGemma ? 0 : 1,
    });
    const path = join(folder, name);
    writeDirectory(path, config, values);
    const logits = llamaLogits(
      config,
      (tensor) => values.get(tensor)?.values,
      TOKENS,
    );
    await judge(path, name, distributions(logits));
  });

  test("a recurrent one: Mamba", async () => {
    // What is rounded of one step goes on through all that follow.
    const values = randomValues(mambaShapes(), { gain: 0.6 });
    const path = join(folder, "mamba");
    writeDirectory(path, MAMBA, values);
    const logits = mambaLogits(
      MAMBA,
      (name) => values.get(name)?.values,
      TOKENS,
    );
    await judge(path, "mamba", distributions(logits));
  });

  describe("T5, whose encoder runs before its decoder", () => {
    const values = randomValues(t5Shapes());
    beforeAll(() => writeDirectory(join(folder, "t5"), T5, values));

    test("is loaded", async () => {
      const file = await made(join(folder, "t5"), "t5");
      const types = await typesOf(file);
      expect(types.get("dec.blk.1.cross_attn_q.weight")).toBe("MXFP4");
      expect(types.get("dec.blk.0.attn_rel_b.weight")).toBe("F32");
      expect(await withLlamaCpp(file, () => Promise.resolve(true))).toBe(true);
    });

    // The host for Node does not run encoders; the library that comes with it does.
    test.skipIf(!HAS_C_COMPILER)("predicts what it is to", async () => {
      // So long that distances share buckets.
      const encoded = Array.from({ length: 40 }, (_, i) => (i * 37 + 5) % 256);
      const targets = [0, 7, 130, 55, 9, 201, 14];
      const run = (path: string) =>
        distributions(
          encoderDecoderLogits(path, T5.vocab_size, encoded, targets),
        );
      const from = join(folder, "t5");
      const f32 = await made(from, "t5-f32", { tensorType: ["*=f32"] });
      const logits = t5Logits(
        T5,
        (name) => values.get(name)!.values,
        encoded,
        targets,
      );
      expect(totalVariation(run(f32), distributions(logits))).toBeLessThan(
        F32_TOLERANCE,
      );
      const packed = await made(from, "t5-packed", { outputType: "keep" });
      const own = run(await decoded(packed));
      const judged = totalVariation(run(packed), own);
      expect(judged).toBeLessThan(MXFP4_TOLERANCE);
      expect(totalVariation(own, run(f32))).toBeGreaterThan(2 * judged);
    });
  });
});

describe.skipIf(!HAS_LLAMA_CPP)("llama.cpp cuts text as", () => {
  test.each(Object.entries(TOKENIZERS))("%s", async (name, each) => {
    const { config, files, text, ids, written } = each;
    const path = join(folder, name);
    const config2 = { ...DECODERS.llama!, vocab_size: 288, ...config };
    const shapes = decoderShapes(config2).map(
      ([tensor, rows, ...more]): [string, ...number[]] => [
        tensor,
        /embed_tokens|lm_head/.test(tensor) ? 288 : rows!,
        ...more,
      ],
    );
    writeDirectory(path, config2, randomValues(shapes));
    for (const [file, content] of Object.entries(files))
      writeFileSync(
        join(path, file),
        content instanceof Uint8Array ? content : JSON.stringify(content),
      );
    const file = await made(path, name);
    const [tokenized, own] = await withLlamaCpp(file, (model) =>
      Promise.resolve([model.tokenize(text, true), model.detokenize(ids)]),
    );
    expect(tokenized).toEqual(ids);
    if (written !== undefined) expect(own).toBe(written);
  });
});
