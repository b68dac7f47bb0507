/**
 * Models leave and come in: a run's parameters as a directory of transformers', and as a GGUF that llama.cpp predicts
 * with as we do; a GPT-2 or a Llama by transformers as parameters, with the logits that it has there.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type {
  ModelRequest,
  ModelShape,
  RunConfig,
} from "../../src/api/run-config.ts";
import { readInOrder } from "../../src/checkpoints/tensor-reads.ts";
import { planFolderGguf } from "../../src/checkpoints/gguf/folder-gguf.ts";
import { localFolder } from "../../src/cli/ranged-files.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { planDequantize } from "../../src/formats/operations/dequantize-file.ts";
import { completeShape } from "../../src/model/architectures.ts";
import { initialParameters } from "../../src/model/parameters.ts";
import { Bpe } from "../../src/tokenizers/bpe.ts";
import { writeTokenizerJson } from "../../src/tokenizers/tokenizer-json.ts";
import {
  type CheckpointFolder,
  checkpointFolder,
} from "../../src/training/checkpoint-folder.ts";
import { openModel } from "../../src/training/imported-model.ts";
import { collect, convert } from "../support/files.ts";
import { Golden } from "../support/golden.ts";
import { arena } from "../support/kernels-node.ts";
import {
  distributions,
  HAS_LLAMA_CPP,
  nextTokens,
  stopLlamaCpp,
  totalVariation,
  withLlamaCpp,
} from "../support/llama-cpp.ts";
import { logits, parameterTable } from "../support/model.ts";

const TOKENS = Int32Array.from({ length: 32 }, (_, i) => (i * 37 + 11) % 256);
/** Two pairs of bytes. */
const PAIRS = new Bpe([
  [0x68, 0x65],
  [256, 0x6c],
]);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-model-folder-"));
});
afterAll(async () => {
  await stopLlamaCpp();
  rmSync(folder, { recursive: true, force: true });
});

/** What a run is told of its model; the rest follows. */
type Asked = Pick<
  ModelRequest,
  "arch" | "tied" | "headNorm" | "qkvBias" | "heads" | "headWidth"
>;

const shapeOf = (tokenizer: Bpe, asked: Asked) =>
  completeShape({
    layers: 2,
    width: 64,
    context: 64,
    vocabulary: tokenizer.vocabulary,
    ...asked,
    heads: asked.heads ?? 4,
  });

/** Weights so large that predictions are far from even; ggml looks up GELU in f16, which larger ones would magnify. */
function parametersOf(shape: ModelShape): Float32Array<ArrayBuffer> {
  const table = parameterTable(shape);
  const values = initialParameters(table, 5, 0, table.length);
  for (const { offset, length, group } of table.tensors)
    for (let i = offset; i < offset + length; i++)
      values[i] =
        group === "vector" ? values[i]! + 0.1 * Math.sin(i) : values[i]! * 3;
  return values;
}

/** What a run of these parameters gives, in chunks that end anywhere. */
function exported(tokenizer: Bpe, model: ModelShape): CheckpointFolder {
  const values = parametersOf(model);
  const config = {
    model,
    dataset: { name: "text" },
  } as unknown as RunConfig;
  const json =
    tokenizer.merges.length > 0 ? writeTokenizerJson(tokenizer) : null;
  return checkpointFolder(
    config,
    { step: 3 },
    json,
    async function* ({ start, length }) {
      for (let at = start; at < start + length; at += 1000) {
        const end = Math.min(at + 1000, start + length);
        yield new Uint8Array(values.buffer, 4 * at, 4 * (end - at));
      }
    },
  );
}

async function ggufOf(from: CheckpointFolder, types: string[]) {
  const { reads, conversion } = await planFolderGguf(from, "model", {
    scheme: DEFAULT_SCHEME,
    selection: { include: [], exclude: [] },
    output: "keep",
    types,
  });
  const files = new Map([
    ["model.safetensors", await from.open("model.safetensors")],
  ]);
  const source = readInOrder(reads, files, () => {}, { windowBytes: 1024 });
  return collect(conversion(), source);
}

function written(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

describe.each<[string, Bpe, Asked]>([
  ["bytes", new Bpe([]), {}],
  ["byte pairs", PAIRS, {}],
  ["bytes, of a Llama", new Bpe([]), { arch: "llama", tied: false }],
  [
    "bytes, of a Llama whose width is no multiple of its heads",
    new Bpe([]),
    { arch: "llama", heads: 6, headWidth: 16 },
  ],
  ["byte pairs, of a Qwen2", PAIRS, { arch: "llama", qkvBias: true }],
  ["byte pairs, of a Qwen3", PAIRS, { arch: "llama", headNorm: true }],
])("a run on %s", (name, tokenizer, asked) => {
  const model = shapeOf(tokenizer, asked);
  const from = exported(tokenizer, model);

  test("comes back as it was, whatever part of it is asked for", async () => {
    const { shape, read } = await openModel(from);
    expect(shape).toEqual(model);
    const values = parametersOf(model);
    expect(await read(0, values.length)).toEqual(values);
    expect(await read(1001, 70_003)).toEqual(values.slice(1001, 70_003));
  });

  test("has a tokenizer that Hugging Face's reader takes", async () => {
    const json = (await from.text("tokenizer.json"))!;
    const config = (await from.text("tokenizer_config.json"))!;
    const theirs = new Tokenizer(
      JSON.parse(json) as object,
      JSON.parse(config) as object,
    );
    for (const text of ["hello, world", "ünïcode 12\n\t  x", "hehel"]) {
      const { ids } = theirs.encode(text);
      expect(ids).toEqual([...tokenizer.encode(text)]);
      expect(theirs.decode(ids)).toBe(text);
    }
  });

  test.skipIf(!HAS_LLAMA_CPP)(
    "is a GGUF with which llama.cpp predicts what we do",
    async () => {
      const { vocabulary } = model;
      const flat = arena.scope(() => {
        const at = arena.copyIn(parametersOf(model));
        return logits(model, "f32", at, TOKENS, 1);
      });
      const ours = distributions(
        Array.from(TOKENS, (_, t) =>
          flat.subarray(t * vocabulary, (t + 1) * vocabulary),
        ),
      );
      const f32 = written(`${name}.gguf`, await ggufOf(from, ["*=f32"]));
      const theirs = await nextTokens(f32, TOKENS, vocabulary);
      let most = 0;
      for (const [t, row] of ours.entries())
        for (const [token, p] of row.entries())
          if (p >= 1e-6)
            most = Math.max(most, Math.abs(Math.log(p / theirs[t]![token]!)));
      console.log(`${name}: the most of |Δ log p| is ${most.toExponential(2)}`);
      expect(most).toBeLessThan(1e-3);

      const packed = await ggufOf(from, []);
      const own = await convert(packed, (file) => planDequantize(file, "F32"));
      const [judged, decoded] = [
        await nextTokens(written("packed.gguf", packed), TOKENS, vocabulary),
        await nextTokens(written("decoded.gguf", own), TOKENS, vocabulary),
      ];
      expect(totalVariation(judged, decoded)).toBeLessThan(0.02);
      expect(totalVariation(decoded, ours)).toBeGreaterThan(
        5 * totalVariation(judged, decoded),
      );

      const text = "hello ünïcode 12";
      const ids = await withLlamaCpp(f32, (model) =>
        Promise.resolve(model.tokenize(text, false)),
      );
      expect(ids).toEqual([...tokenizer.encode(text)]);
    },
  );
});

const fixture = (model: string) =>
  join(import.meta.dirname, "../fixtures/hf", model);

describe("a model by transformers", () => {
  test.each([
    ["gpt2", { context: 64 }],
    [
      "llama",
      { arch: "llama", context: 128, groups: 2, hidden: 192, tied: false },
    ],
  ])("has the logits that it has there: %s", async (model, facts) => {
    const { shape, read } = await openModel(localFolder(fixture(model)));
    const sizes = { layers: 2, width: 64, heads: 4, vocabulary: 320 };
    expect(shape).toMatchObject({ ...sizes, ...facts });
    const { length } = parameterTable(shape);
    const values = await read(0, length);
    const golden = new Golden(`hf/${model}/logits.safetensors`);
    const [sequences, positions] = golden.shape("tokens");
    const tokens = golden.i32("tokens");
    const own = Float32Array.from({ length: sequences! }, () => 0);
    const expected = golden.f32("logits");
    const top = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    for (let s = 0; s < sequences!; s++) {
      const got = arena.scope(() =>
        logits(
          shape,
          "f32",
          arena.copyIn(values),
          tokens.slice(s * positions!, (s + 1) * positions!),
          1,
        ),
      );
      const part = expected.subarray(s * got.length, (s + 1) * got.length);
      own[s] = got.reduce(
        (most, x, i) => Math.max(most, Math.abs(x - part[i]!)),
        0,
      );
    }
    console.log(`relative to the largest logit: ${Math.max(...own) / top}`);
    expect(Math.max(...own) / top).toBeLessThan(1e-4);
  });

  test.each([
    [
      { model_type: "llama" },
      "a whole number `num_hidden_layers` from 1, got undefined",
    ],
    [
      { model_type: "mamba" },
      "one of gpt2, llama, mistral, qwen2, qwen3, phi3, got",
    ],
    [
      { activation_function: "relu" },
      '`activation_function` "gelu_new", got "relu"',
    ],
    [{ n_inner: 100 }, "`n_inner` of four times `n_embd`, got 100"],
    [
      { n_layer: 3 },
      'Expected "transformer.h.2.attn.c_attn.weight" of [64, 192], got none',
    ],
    [{ n_layer: 1 }, 'got "transformer.h.1.attn.c_attn.bias" too'],
    [
      { vocab_size: 300 },
      '"transformer.wte.weight" of [300, 64], got [320, 64]',
    ],
  ])("is refused as a GPT-2 with %o", async (change, message) => {
    const own = localFolder(fixture("gpt2"));
    const changed = {
      ...own,
      async text(name: string) {
        const text = await own.text(name);
        if (name !== "config.json") return text;
        return JSON.stringify({ ...(JSON.parse(text!) as object), ...change });
      },
    };
    await expect(openModel(changed)).rejects.toThrow(message);
  });
});
