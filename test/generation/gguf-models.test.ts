/** GGUF files write what the directories write of which they were made: the same logits, ids and text. */
import "../support/kernels.ts";
import { describe, expect, it, test } from "vitest";
import type {
  LlamaShape,
  ModelShape,
  RopeScaling,
} from "../../src/api/run-config.ts";
import { ggufFolder } from "../../src/checkpoints/from-gguf/gguf-folder.ts";
import type { Folder } from "../../src/checkpoints/read-heads.ts";
import { planDequantize } from "../../src/formats/operations/dequantize-file.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import {
  type GgufTensor,
  ggufTensorBytes,
  paddingAfter,
} from "../../src/formats/containers/gguf-types.ts";
import {
  encodePair,
  type GgufValue,
  writeGgufHead,
} from "../../src/formats/containers/gguf-writer.ts";
import { openTextModel } from "../../src/generation/open-model.ts";
import type { WeightFormat } from "../../src/kernels/decode.ts";
import {
  architectureOf,
  completeShape,
  modelOf,
} from "../../src/model/architectures.ts";
import { KeyValueCache } from "../../src/model/key-value-cache.ts";
import { openModel } from "../../src/training/imported-model.ts";
import { Bpe } from "../../src/tokenizers/bpe.ts";
import { convert } from "../support/files.ts";
import { gpt2Gguf, ggufValues } from "../support/gguf-checkpoint.ts";
import { fileOf, ggufOfFolder, withPair } from "../support/gguf-of-folder.ts";
import { normals } from "../support/random.ts";
import {
  directoryOf,
  type Files,
  folderIn,
  type RandomTensor,
} from "../support/text-models.ts";

const sizes = { layers: 2, width: 64, heads: 4, context: 32, vocabulary: 260 };
const llama = { ...sizes, arch: "llama" } as const;
const scaled = (ropeScaling: RopeScaling): ModelShape => ({
  ...(completeShape({ ...llama, tied: false, groups: 2 }) as LlamaShape),
  ropeScaling,
});
const BIASES = { qkvBias: true, outBias: true, mlpBias: true } as const;
/** Heads of 16 rows, also such as are not the width's share, and of 32; tied, and with norms of heads. */
const SHAPES: Record<string, ModelShape> = {
  "GPT-2": completeShape(sizes),
  Llama: completeShape({ ...llama, tied: false, groups: 2 }),
  "Llama that is tied": completeShape({ ...llama, tied: true }),
  "Llama of wide heads": completeShape({ ...llama, headWidth: 32, groups: 1 }),
  Mistral: completeShape({ ...llama, heads: 6, headWidth: 16, groups: 3 }),
  Qwen2: completeShape({ ...llama, qkvBias: true, groups: 2 }),
  "Llama with biases": {
    ...(completeShape({ ...llama, groups: 2 }) as LlamaShape),
    ...BIASES,
  },
  "Llama slowed": scaled({ type: "linear", factor: 4 }),
  Qwen3: completeShape({ ...llama, headNorm: true, headWidth: 32, groups: 2 }),
};
/** What a GGUF says of them it says in f32. */
const SCALED: Record<string, ModelShape> = {
  "Llama 3.1": scaled({
    type: "llama3",
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalContext: 16,
  }),
  "Llama with YaRN": scaled({
    type: "yarn",
    factor: 4,
    betaFast: 32,
    betaSlow: 1,
    originalContext: 16,
    attentionFactor: 1.3,
    truncate: true,
  }),
  "Llama of a factor a pair and larger queries": scaled({
    type: "factors",
    factors: [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5],
    attentionFactor: 1.3,
  }),
};
const MERGES = [
  [104, 101],
  [116, 256],
  [257, 32],
  [110, 100],
] as const;
const TOKENS = [5, 77, 200, 3, 3, 91, 259];

/** Values with three bits behind the first, none too small: F16 and BF16 hold them. */
function coarse(values: Float32Array): Float32Array<ArrayBuffer> {
  const own = values.map((x) => (Math.abs(x) < 1e-3 ? 1e-3 : x));
  const bits = new Uint32Array(own.buffer);
  for (let i = 0; i < bits.length; i++) bits[i]! &= 0xfff00000;
  return own as Float32Array<ArrayBuffer>;
}

/** Multiples of 2^-9 with 127 of them in each block of 32, by rows and by columns: Q8_0 holds them. */
function inSteps(
  values: Float32Array,
  { shape }: { shape: readonly number[] },
): Float32Array<ArrayBuffer> {
  const columns = shape.at(-1)!;
  const steps = values.map((x, i) => {
    const isLargest = (Math.floor(i / columns) - (i % columns)) % 32 === 0;
    return isLargest ? 127 : Math.round(1000 * x) % 127;
  });
  return (
    shape.length < 2 ? values : steps.map((x) => x / 512)
  ) as Float32Array<ArrayBuffer>;
}

function directory(shape: ModelShape, round: typeof inSteps = coarse): Files {
  const tensors = modelOf(shape).table.tensors.map(
    (tensor, i): RandomTensor => {
      const isGain = tensor.group === "vector" && !tensor.name.endsWith("bias");
      const values = normals(tensor.length, i + 1);
      return {
        ...tensor,
        values: round(
          values.map((x) => (isGain ? 1 + 0.2 * x : 0.3 * x)),
          tensor,
        ),
      };
    },
  );
  const config = architectureOf(shape).huggingFaceConfig(shape);
  return directoryOf(config, tensors, new Bpe(MERGES));
}

const read = async (bytes: Uint8Array): Promise<Folder> =>
  (await ggufFolder("model.gguf", fileOf(bytes)))!;

/** All of the flat vector, and the same in parts that begin and end anywhere. */
async function parameters(folder: Folder): Promise<Float32Array> {
  const model = await openModel(folder);
  const { length } = modelOf(model.shape).table;
  const all = await model.read(0, length);
  expect(new Set(all).size).toBeGreaterThan(100);
  for (const [start, end] of [
    [0, 7],
    [1001, 9003],
    [length - 5005, length],
  ])
    expect(await model.read(start!, end!)).toEqual(all.slice(start, end));
  return all;
}

async function logits(folder: Folder, format: WeightFormat) {
  const { decoder, weights } = await (await openTextModel(folder)).load(format);
  const cache = new KeyValueCache(decoder, TOKENS.length);
  try {
    return decoder.forward(weights, cache, TOKENS);
  } finally {
    cache.free();
    weights.free();
  }
}

test.each(Object.entries(SCALED))(
  "a %s has the directory's logits, as near as f32 tells its positions",
  async (_, shape) => {
    const folder = folderIn(directory(shape));
    const bytes = await ggufOfFolder(folder, { types: ["*=f32"] });
    const own = await logits(await read(bytes), "f32");
    const expected = await logits(folder, "f32");
    const plain = { ...shape, ropeScaling: undefined } as LlamaShape;
    const unscaled = await logits(folderIn(directory(plain)), "f32");
    const top = Math.max(...expected.map(Math.abs));
    const apart = (from: Float32Array) =>
      Math.max(...expected.map((x, i) => Math.abs(x - from[i]!))) / top;
    expect(apart(own)).toBeLessThan(2e-6);
    expect(apart(unscaled)).toBeGreaterThan(1e-3);
  },
);

describe.each(Object.entries(SHAPES))("a %s", (_, shape) => {
  const folder = folderIn(directory(shape));

  it.each(["f32", "f16", "bf16"])(
    "in %s has the directory's logits",
    async (type) => {
      const own = await read(
        await ggufOfFolder(folder, { types: [`*=${type}`] }),
      );
      for (const format of ["f32", "mxfp4"] as const)
        expect(await logits(own, format)).toEqual(await logits(folder, format));
    },
  );

  it("in MXFP4 is multiplied as it is, and in f32 as what it stands for", async () => {
    const bytes = await ggufOfFolder(folder);
    const own = await read(bytes);
    const floats = await read(
      await convert(bytes, (file) => planDequantize(file, "F32")),
    );
    const packed = await logits(own, "mxfp4");
    expect(packed).toEqual(await logits(folder, "mxfp4"));
    const values = await logits(own, "f32");
    expect(values).toEqual(await logits(floats, "f32"));
    expect(values).not.toEqual(packed);
    expect(values).not.toEqual(await logits(folder, "f32"));
  });

  it.each(["f32", "f16", "bf16"])(
    "in %s begins a run with the directory's parameters",
    async (type) => {
      const bytes = await ggufOfFolder(folder, { types: [`*=${type}`] });
      expect(await parameters(await read(bytes))).toEqual(
        await parameters(folder),
      );
    },
  );

  it("in MXFP4 and in Q8_0 begins a run with what blocks stand for", async () => {
    const packed = await ggufOfFolder(folder);
    const floats = await convert(packed, (file) => planDequantize(file, "F32"));
    const own = await parameters(await read(packed));
    expect(own).toEqual(await parameters(await read(floats)));
    expect(own).not.toEqual(await parameters(folder));
    const stepped = folderIn(directory(shape, inSteps));
    const eight = await ggufOfFolder(stepped, { types: ["*=q8_0"] });
    // Integers have one zero.
    const expected = (await parameters(stepped)).map((x) => x + 0);
    expect(await parameters(await read(eight))).toEqual(expected);
  });

  it("in Q8_0 is what its blocks stand for, positions too", async () => {
    const stepped = folderIn(directory(shape, inSteps));
    const own = await read(await ggufOfFolder(stepped, { types: ["*=q8_0"] }));
    const { ggml, tensors } = await own.checkpoint!();
    expect(new Set(ggml!.map(({ dtype }) => dtype))).toEqual(new Set(["Q8_0"]));
    expect(tensors.every(({ shape }) => shape.length === 1)).toBe(true);
    for (const format of ["f32", "mxfp4"] as const)
      expect(await logits(own, format)).toEqual(await logits(stepped, format));
  });
});

/** A GPT-2 as llama.cpp's own converter maps it, written without our exporter; and the directory of the same values. */
const PLAIN = completeShape(sizes);
const F64 = 28;
function converted(
  change: Record<string, GgufValue | undefined> = {},
  changeTensor: (tensor: GgufTensor) => GgufTensor[] = (tensor) => [tensor],
): Uint8Array {
  const { pairs, parameters } = gpt2Gguf(PLAIN);
  for (const [key, value] of Object.entries(change)) {
    pairs.delete(key);
    if (value) pairs.set(key, encodePair(key, value));
  }
  const all = values();
  const heads: GgufTensor[] = [];
  const data: Uint8Array[] = [];
  for (const parameter of parameters)
    for (const tensor of changeTensor(parameter.tensor)) {
      const bytes = ggufTensorBytes(tensor);
      const floats = ggufValues(parameter, all);
      const stored = tensor.type === F64 ? Float64Array.from(floats) : floats;
      const own = new Uint8Array(stored.buffer as ArrayBuffer);
      heads.push(tensor);
      data.push(
        own.subarray(0, bytes),
        new Uint8Array(paddingAfter(bytes, 32)),
      );
    }
  const { head, dataBytes } = writeGgufHead(pairs, heads);
  return concatenate(head.length + dataBytes, [head, ...data]);
}

function values(): Float32Array<ArrayBuffer> {
  const { table } = modelOf(PLAIN);
  const all = new Float32Array(table.length);
  for (const [i, { name, offset, length }] of table.tensors.entries()) {
    const isGain = /ln_.*weight/.test(name);
    const own = normals(length, i + 1).map((x) =>
      isGain ? 1 + 0.2 * x : 0.3 * x,
    );
    all.set(own, offset);
  }
  return all;
}

it("a GPT-2 as llama.cpp's converter maps it has the logits of its directory", async () => {
  const all = values();
  const tensors = modelOf(PLAIN).table.tensors.map((tensor) => ({
    ...tensor,
    values: all.slice(tensor.offset, tensor.offset + tensor.length),
  }));
  const config = architectureOf(PLAIN).huggingFaceConfig(PLAIN);
  const folder = folderIn(directoryOf(config, tensors, new Bpe(MERGES)));
  const own = await read(converted());
  // Older converters write the table as the head too.
  const both = converted({}, (tensor) =>
    tensor.name === "token_embd.weight"
      ? [tensor, { ...tensor, name: "output.weight" }]
      : [tensor],
  );
  for (const format of ["f32", "mxfp4"] as const) {
    const expected = await logits(folder, format);
    expect(await logits(own, format)).toEqual(expected);
    expect(await logits(await read(both), format)).toEqual(expected);
  }
  // What ends a text is the file's, and so are its tokens.
  const { endings, tokenizer } = await (await openTextModel(own)).load("f32");
  expect(endings).toEqual([0]);
  expect(Array.from(tokenizer.encode("ab<259>"))).toEqual([
    97, 98, 60, 50, 53, 57, 62,
  ]);
});

it("in F64 alone it is the same in F32, to write and to begin a run with", async () => {
  const wide = converted({}, (tensor) => [{ ...tensor, type: F64 }]);
  const [own, single] = [await read(wide), await read(converted())];
  const { tensors } = await own.checkpoint!();
  expect(new Set(tensors.map(({ dtype }) => dtype))).toEqual(new Set(["F64"]));
  for (const format of ["f32", "mxfp4"] as const)
    expect(await logits(own, format)).toEqual(await logits(single, format));
  expect(await parameters(own)).toEqual(await parameters(single));
});

describe("it is refused by name", () => {
  const only = (name: string, type: number) => (tensor: GgufTensor) =>
    tensor.name === name ? [{ ...tensor, type }] : [tensor];
  const string = (text: string) => ({ string: text });
  it.each<[string, Parameters<typeof converted>, string]>([
    [
      "a tensor type that is not read",
      [{}, only("blk.0.attn_output.bias", 15)],
      "rows of whole blocks of 256",
    ],
    [
      "a tensor type that is not read",
      [{}, only("blk.1.ffn_down.weight", 12)],
      'Expected tensors of F64, F32, F16, BF16, Q8_0, MXFP4, got Q4_K in "blk.1.ffn_down.weight"',
    ],
    [
      "an architecture",
      [{ "general.architecture": string("phi3") }],
      'Expected a GGUF of `general.architecture` gpt2, llama, qwen2, qwen3, got "phi3"',
    ],
    [
      "a key that changes what is computed",
      [{ "gpt2.attention.clamp_kqv": { float32: 8 } }],
      "which are computed here, got `gpt2.attention.clamp_kqv`",
    ],
    [
      "a key of another type",
      [{ "gpt2.block_count": string("2") }],
      'Expected a GGUF whose `gpt2.block_count` is a number, got "2"',
    ],
    [
      "a key that is missing",
      [{ "gpt2.attention.head_count": undefined }],
      "Expected a GGUF whose `gpt2.attention.head_count` is a number, got none",
    ],
    [
      "a part of a model",
      [{ "split.count": { uint32: 3 } }],
      "Expected a whole GGUF, got part 1 of 3; merge the parts with `llama-gguf-split --merge`",
    ],
    [
      "an adapter",
      [{ "general.type": string("adapter") }],
      'Expected a GGUF of a model, got one of `general.type` "adapter"',
    ],
    [
      "a file of a tokenizer alone",
      [{}, () => []],
      "Expected a GGUF of a model that writes text, with token_embd.weight, got none",
    ],
    [
      "a tensor of another model",
      [
        {},
        (tensor) => [
          tensor.name === "blk.0.ffn_up.bias"
            ? { ...tensor, name: "blk.0.ffn_gate.bias" }
            : tensor,
        ],
      ],
      'Expected the tensors of a model that is computed here, got "blk.0.ffn_gate.bias"',
    ],
    [
      "a tensor that is missing",
      [{}, (tensor) => (tensor.name === "output_norm.bias" ? [] : [tensor])],
      'Expected "transformer.ln_f.bias" of [64], got none',
    ],
    [
      "a pre-tokenizer",
      [{ "tokenizer.ggml.pre": string("deepseek-v3") }],
      'Expected a GGUF with `tokenizer.ggml.pre` gpt-2, llama-bpe, qwen2, gpt-4o, tekken, smollm, deepseek-r1-qwen, got "deepseek-v3"',
    ],
    [
      "no pre-tokenizer, which llama.cpp has otherwise than GPT-2",
      [{ "tokenizer.ggml.pre": undefined }],
      "smollm, deepseek-r1-qwen, got none",
    ],
    [
      "a tokenizer",
      [{ "tokenizer.ggml.model": string("bert") }],
      'Expected a GGUF with `tokenizer.ggml.model` gpt2 or llama, got "bert"',
    ],
    [
      "pieces without scores",
      [{ "tokenizer.ggml.model": string("llama") }],
      "Expected a GGUF with `tokenizer.ggml.scores` of 260 tokens, got none",
    ],
    [
      "tokens without texts",
      [
        {
          "tokenizer.ggml.tokens": {
            strings: Array.from({ length: 260 }, (_, i) => `<${i}>`),
          },
        },
      ],
      "Expected a GGUF with texts for its 260 tokens, got one that calls them by their ids",
    ],
  ])("%s: %#", async (_, [change, changeTensor], message) => {
    const opening = async () => {
      const folder = await read(converted(change, changeTensor));
      await (await openTextModel(folder)).load("f32");
    };
    await expect(opening()).rejects.toThrow(message);
  });

  it("rotary positions that are scaled", async () => {
    const folder = folderIn(directory(SHAPES.Llama!));
    const bytes = await ggufOfFolder(folder, { types: ["*=f32"] });
    const told = await withPair(
      bytes,
      "llama.rope.scaling.type",
      string("longrope"),
    );
    await expect(read(told)).rejects.toThrow(
      'Expected a GGUF of a llama with `rope.scaling.type` none, linear or yarn, which is computed here, got "longrope"',
    );
    const untold = await withPair(
      bytes,
      "llama.rope.scaling.type",
      string("linear"),
    );
    await expect(read(untold)).rejects.toThrow(
      "`llama.rope.scaling.factor` is a number, got none",
    );
    const larger = await withPair(bytes, "llama.rope.scaling.attn_factor", {
      float32: 1.5,
    });
    await expect(read(larger)).rejects.toThrow(
      "`rope.scaling.attn_factor` 1 beside neither yarn nor rope_freqs.weight, which is computed here, got 1.5",
    );
    const wide = await withPair(bytes, "llama.attention.key_length", {
      uint32: 2 ** 32 - 2,
    });
    await expect(read(wide)).rejects.toThrow(
      "heads of an even number of channels, at most 4096, which is computed here, got 4294967294",
    );
    const lengths = await withPair(bytes, "llama.rope.dimension_count", {
      uint32: 8,
    });
    await expect(read(lengths)).rejects.toThrow(
      "`rope.dimension_count` 16, as of a head, which is computed here, got 8",
    );
  });
});

it.each([[false], [true]])(
  "add_prefix_space %s of tokenizer_config.json is that of tokenizer.json, or refused",
  async (told) => {
    const files = directory(SHAPES["GPT-2"]!);
    files.set(
      "tokenizer_config.json",
      new TextEncoder().encode(JSON.stringify({ add_prefix_space: told })),
    );
    const loading = openTextModel(folderIn(files)).then((model) =>
      model.load("f32"),
    );
    if (told)
      await expect(loading).rejects.toMatchObject({
        code: "invalid_config",
        message: expect.stringContaining("of tokenizer.json, false, got true"),
      });
    else (await loading).weights.free();
  },
);
