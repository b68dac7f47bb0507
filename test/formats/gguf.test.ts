/** GGUF in and out: what is quantized, what is left, and where everything lies. */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import { planDequantize } from "../../src/formats/operations/dequantize-file.ts";
import { planQuantize } from "../../src/formats/operations/quantize-file.ts";
import {
  encodePair,
  writeGgufHead,
} from "../../src/formats/containers/gguf-writer.ts";
import {
  type GgufTensor,
  paddingAfter,
  ggufTensorBytes,
} from "../../src/formats/containers/gguf-types.ts";
import { readGgufHead } from "../../src/formats/containers/gguf-reader.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import type { GgufOutput, Scheme } from "../../src/api/scheme.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import type { Selection } from "../../src/formats/operations/name-patterns.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { dequantizeMxfp4, quantizeMxfp4 } from "../reference/mxfp4.ts";
import { typeRules } from "../../src/formats/operations/tensor-types.ts";
import { convert } from "../support/files.ts";
import { normals } from "../support/random.ts";

type Tensor = GgufTensor & { bytes: Uint8Array };

const F32 = 0;
const F16 = 1;
const Q8_0 = 8;
const BF16 = 30;
const MXFP4 = 39;

const tensor = (
  name: string,
  dimensions: number[],
  type: number,
  bytes: ArrayBufferView,
): Tensor => ({
  name,
  dimensions,
  type,
  bytes: new Uint8Array(
    bytes.buffer as ArrayBuffer,
    bytes.byteOffset,
    bytes.byteLength,
  ),
});

const WEIGHTS = normals(3 * 64, 1);
/** Multiples of 1/8 below 2, which f16 and bf16 hold. */
const COARSE = WEIGHTS.map((x) =>
  Math.max(-1.875, Math.min(1.875, Math.round(x * 8) / 8)),
);
const AS_BF16 = Uint16Array.from(
  COARSE,
  (x) => new Uint32Array(Float32Array.of(x).buffer)[0]! >>> 16,
);

const TENSORS: Tensor[] = [
  tensor("token_embd.weight", [64, 3], F32, WEIGHTS),
  tensor("position_embd.weight", [64, 3], F32, WEIGHTS),
  tensor("blk.0.attn_norm.weight", [33], F32, normals(33, 2)),
  tensor("blk.0.attn_qkv.weight", [64, 3], F16, new Float16Array(COARSE)),
  tensor("blk.0.attn_qkv.bias", [3], F32, normals(3, 3)),
  tensor("blk.0.ffn_up.weight", [64, 3], BF16, AS_BF16),
  tensor("blk.0.ffn_odd.weight", [48, 2], F32, normals(96, 4)),
  tensor("blk.0.ffn_down.weight", [32, 2], Q8_0, new Uint8Array(68).fill(3)),
];

const PAIRS = new Map(
  Object.entries({
    "general.architecture": { string: "gpt2" },
    "general.file_type": { uint32: 0 },
    "tokenizer.ggml.tokens": { strings: ["a", "ü", ""] },
    "tokenizer.ggml.token_type": { int32s: [1, 1, -1] },
    "gpt2.attention.layer_norm_epsilon": { float32: 1e-5 },
  }).map(([key, value]) => [key, encodePair(key, value)]),
);

function fileOf(
  tensors: readonly Tensor[],
  alignment = 32,
  pairs = PAIRS,
): Uint8Array<ArrayBuffer> {
  const { head, dataBytes } = writeGgufHead(pairs, tensors, alignment);
  const parts = tensors.flatMap(({ bytes }) => [
    bytes,
    new Uint8Array(paddingAfter(bytes.length, alignment)),
  ]);
  return concatenate(head.length + dataBytes, [head, ...parts]);
}

async function read(file: Uint8Array) {
  const source = sourceOf(file);
  const first = (await source.take(8)).slice();
  return readGgufHead(source, first, file.length);
}

/** Each tensor's bytes, found by adding up as llama.cpp does. */
async function tensorsOf(file: Uint8Array): Promise<Map<string, Tensor>> {
  const { gguf, headBytes } = await read(file);
  let at = headBytes;
  return new Map(
    gguf.tensors.map((each) => {
      const bytes = file.subarray(at, at + ggufTensorBytes(each));
      at += bytes.length + paddingAfter(bytes.length, gguf.alignment);
      return [each.name, { ...each, bytes }];
    }),
  );
}

const quantize = (
  file: Uint8Array,
  scheme: Partial<Scheme> = {},
  selection: Partial<Selection> = {},
  output: GgufOutput = "mxfp4",
  types: readonly string[] = [],
) =>
  convert(file, (input) =>
    planQuantize(input, {
      scheme: { ...DEFAULT_SCHEME, ...scheme },
      output,
      types: typeRules(types),
      selection: { include: [], exclude: [], ...selection },
    }),
  );
const dequantize = (file: Uint8Array, dtype: "F32" | "BF16" | "F16") =>
  convert(file, (input) => planDequantize(input, dtype));

/** Values of 17-byte blocks by ggml's definition. */
function decode(bytes: Uint8Array): number[] {
  const doubled = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
  return Array.from({ length: (bytes.length / 17) * 32 }, (_, i) => {
    const block = Math.floor(i / 32) * 17;
    const j = i % 32;
    const byte = bytes[block + 1 + (j % 16)]!;
    return (
      doubled[j < 16 ? byte & 15 : byte >> 4]! * 2 ** (bytes[block]! - 128)
    );
  });
}

test("matrices of floats become MXFP4; norms, positions, biases, ragged rows and other types stay", async () => {
  const quantized = await tensorsOf(await quantize(fileOf(TENSORS)));
  expect([...quantized.keys()]).toEqual(TENSORS.map(({ name }) => name));
  expect([...quantized.values()].map(({ type }) => type)).toEqual([
    MXFP4,
    F32,
    F32,
    MXFP4,
    F32,
    MXFP4,
    F32,
    Q8_0,
  ]);
  for (const { name, type, bytes } of TENSORS) {
    if (quantized.get(name)!.type === type)
      expect(quantized.get(name)!.bytes).toEqual(bytes);
  }
  const twin = (values: Float32Array) => [
    ...dequantizeMxfp4(quantizeMxfp4(values, { ties: "even" }, "even", 1), 1),
  ];
  // ggml's table has no −0, so signs of zeros do not count.
  const values = (name: string) =>
    decode(quantized.get(name)!.bytes).map((x) => x + 0);
  expect(values("token_embd.weight")).toEqual(twin(WEIGHTS).map((x) => x + 0));
  expect(values("blk.0.attn_qkv.weight")).toEqual(
    twin(COARSE).map((x) => x + 0),
  );
  expect(values("blk.0.ffn_up.weight")).toEqual(twin(COARSE).map((x) => x + 0));
});

test.each(["F32", "BF16", "F16"] as const)(
  "decoded to %s, the values are those of the blocks",
  async (dtype) => {
    const quantized = await quantize(fileOf(TENSORS));
    const packed = await tensorsOf(quantized);
    const decoded = await tensorsOf(await dequantize(quantized, dtype));
    for (const [name, { type, bytes }] of packed) {
      if (type !== MXFP4) {
        expect(decoded.get(name)).toEqual(packed.get(name));
        continue;
      }
      const { buffer } = decoded.get(name)!.bytes.slice();
      const values =
        dtype === "F32"
          ? [...new Float32Array(buffer)]
          : dtype === "F16"
            ? [...new Float16Array(buffer)]
            : Array.from(
                new Uint16Array(buffer),
                (bits) =>
                  new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!,
              );
      expect(values.map((x) => x + 0)).toEqual(decode(bytes).map((x) => x + 0));
    }
  },
);

test("key-values stay byte for byte, the file's type is told, and every choice recorded", async () => {
  const { gguf } = await read(
    await quantize(fileOf(TENSORS), {
      rounding: "stochastic",
      scale: "rceil",
      seed: 7,
    }),
  );
  for (const [key, bytes] of PAIRS) {
    if (key !== "general.file_type") expect(gguf.pairs.get(key)).toEqual(bytes);
  }
  expect(gguf.pairs.get("general.file_type")).toEqual(
    encodePair("general.file_type", { uint32: 38 }),
  );
  expect(gguf.pairs.get("general.quantization_version")).toEqual(
    encodePair("general.quantization_version", { uint32: 2 }),
  );
  for (const [key, string] of [
    ["mxfp4.rounding", "stochastic"],
    ["mxfp4.seed", "7"],
  ] as const)
    expect(gguf.pairs.get(key)).toEqual(encodePair(key, { string }));
  const back = await read(
    await dequantize(await quantize(fileOf(TENSORS)), "F32"),
  );
  expect(
    [...back.gguf.pairs.keys()].filter((key) => key.startsWith("mxfp4.")),
  ).toEqual([]);
  expect(back.gguf.pairs.get("general.file_type")).toEqual(
    encodePair("general.file_type", { uint32: 0 }),
  );
});

test("general.file_type says what most of the matrices are", async () => {
  const matrix = (name: string, rows: number) =>
    tensor(name, [64, rows], F32, new Uint8Array(64 * rows * 4));
  const layers = [
    matrix("blk.0.attn_q.weight", 4),
    matrix("blk.0.attn_k.weight", 2),
    matrix("output.weight", 100),
  ];
  const typeOf = async (selection: Partial<Selection>) => {
    const file = await quantize(fileOf(layers), {}, selection, "q8_0");
    return (await read(file)).gguf.pairs.get("general.file_type");
  };
  const told = (uint32: number) => encodePair("general.file_type", { uint32 });
  // The output head has a type of its own, which a file is not called after.
  expect(await typeOf({})).toEqual(told(38));
  expect(await typeOf({ include: ["*attn_q*"] })).toEqual(told(38));
  expect(await typeOf({ include: ["*attn_k*"] })).toEqual(told(0));
  expect(await typeOf({ include: ["output*"] })).toEqual(told(0));
});

test("the output head and the table of tokens become what is asked for", async () => {
  const tensors = [
    tensor("token_embd.weight", [64, 3], F32, WEIGHTS),
    tensor("output.weight", [64, 3], F32, WEIGHTS),
    tensor("blk.0.ffn_up.weight", [64, 3], F32, WEIGHTS),
  ];
  for (const [output, type] of [
    ["q8_0", Q8_0],
    ["keep", F32],
    ["mxfp4", MXFP4],
  ] as const) {
    const file = await quantize(fileOf(tensors), {}, {}, output);
    const quantized = await tensorsOf(file);
    const types = [...quantized.values()].map((each) => each.type);
    expect(types).toEqual([type, type, MXFP4]);
    const { gguf } = await read(file);
    expect(gguf.pairs.get("mxfp4.output_type")).toEqual(
      encodePair("mxfp4.output_type", { string: output }),
    );
  }
  const { bytes } = (
    await tensorsOf(await quantize(fileOf(tensors), {}, {}, "q8_0"))
  ).get("output.weight")!;
  const view = new DataView(bytes.slice().buffer);
  for (const [i, x] of WEIGHTS.entries()) {
    const block = (i >> 5) * 34;
    const scale = view.getFloat16(block, true);
    const got = scale * view.getInt8(block + 2 + (i % 32));
    // Half a step, and what f16 takes from the scale of at most 127 steps.
    expect(Math.abs(got - x)).toBeLessThan(scale * (0.5 + 127 * 2 ** -11));
  }
  // Named, it is no matter of choice.
  const included = await tensorsOf(
    await quantize(fileOf(tensors), {}, { include: ["output*"] }, "q8_0"),
  );
  expect([...included.values()].map((each) => each.type)).toEqual([
    F32,
    MXFP4,
    F32,
  ]);
});

describe("types by name", () => {
  const told = async (
    types: string[],
    selection: Partial<Selection> = {},
  ): Promise<Record<string, Tensor>> =>
    Object.fromEntries(
      await tensorsOf(
        await quantize(fileOf(TENSORS), {}, selection, "q8_0", types),
      ),
    );

  test("each type is written with its values, and the last pattern that a tensor can be of wins", async () => {
    const tensors = await told([
      "*=q8_0",
      "blk.*=f16",
      "blk.?.ffn_up*=f32",
      "token_embd*=mxfp4",
      "position*=bf16",
    ]);
    const types = Object.values(tensors).map(({ type }) => type);
    // A norm, a bias and what is in blocks already are of no such type.
    expect(types).toEqual([MXFP4, BF16, F32, F16, F32, F32, F16, Q8_0]);
    expect(
      Array.from(
        new Float32Array(tensors["blk.0.ffn_up.weight"]!.bytes.slice().buffer),
      ),
    ).toEqual([...COARSE]);
    expect(
      new Float16Array(tensors["blk.0.ffn_odd.weight"]!.bytes.slice().buffer),
    ).toEqual(new Float16Array(normals(96, 4)));
    const bits = new Uint16Array(
      tensors["position_embd.weight"]!.bytes.slice().buffer,
    );
    for (const [i, x] of WEIGHTS.entries()) {
      const got = new Float32Array(Uint32Array.of(bits[i]! << 16).buffer)[0]!;
      expect(Math.abs(got - x)).toBeLessThanOrEqual(2 ** -8 * Math.abs(x));
    }
    const packed = quantizeMxfp4(WEIGHTS, { ties: "even" }, "floor", 1);
    expect(decode(tensors["token_embd.weight"]!.bytes)).toEqual(
      Array.from(dequantizeMxfp4(packed, 1), (x) => x + 0),
    );
  });

  test("one may keep what would be packed, and is told beside what include names", async () => {
    const kept = await told(["*qkv*=keep"]);
    expect(kept["blk.0.attn_qkv.weight"]!.type).toBe(F16);
    expect(kept["blk.0.ffn_up.weight"]!.type).toBe(MXFP4);
    const beside = await told(["*qkv*=q8_0"], { include: ["*ffn_up*"] });
    expect(beside["blk.0.attn_qkv.weight"]!.type).toBe(Q8_0);
    expect(beside["token_embd.weight"]!.type).toBe(F32);
  });

  test("they are recorded as they were told", async () => {
    const file = await quantize(fileOf(TENSORS), {}, {}, "q8_0", ["*up*=f16"]);
    expect((await read(file)).gguf.pairs.get("mxfp4.tensor_type")).toEqual(
      encodePair("mxfp4.tensor_type", { string: '["*up*=f16"]' }),
    );
  });

  test.each([
    [
      "blk.0.attn_qvk*=q8_0",
      '"blk.0.attn_qvk*", which matches none; the closest names are "blk.0.attn_qkv.',
    ],
    [
      "*norm*=mxfp4",
      '"*norm*=mxfp4", which names "blk.0.attn_norm.weight": not a matrix, which llama.cpp wants as F32',
    ],
    ["*odd*=q8_0", "rows that are not whole blocks of 32"],
    ["*ffn_down*=f32", '"blk.0.ffn_down.weight": not floats'],
  ])("%s, which does nothing, is refused", async (type, message) => {
    await expect(told([type])).rejects.toMatchObject({
      code: "invalid_option",
      message: expect.stringContaining(message),
    });
  });
});

test("what llama.cpp computes with as floats stays even where it is named", async () => {
  const tensors = [
    tensor("blk.0.time_mix_lerp_fused.weight", [64, 3], F32, WEIGHTS),
    tensor("blk.0.ffn_gate_inp.weight", [64, 3], F32, WEIGHTS),
  ];
  const types = async (include: string[]) =>
    [
      ...(
        await tensorsOf(await quantize(fileOf(tensors), {}, { include }))
      ).values(),
    ].map((each) => each.type);
  await expect(types([])).rejects.toMatchObject({
    code: "nothing_to_convert",
    message: expect.stringContaining("mixed in element by element"),
  });
  expect(await types(["*"])).toEqual([F32, MXFP4]);
});

test("include names what is quantized, exclude what is not", async () => {
  const types = async (selection: Partial<Selection>) =>
    [
      ...(
        await tensorsOf(await quantize(fileOf(TENSORS), {}, selection))
      ).values(),
    ]
      .filter(({ type }) => type === MXFP4)
      .map(({ name }) => name);
  expect(await types({ include: ["position*"] })).toEqual([
    "position_embd.weight",
  ]);
  expect(await types({ exclude: ["token*"] })).toEqual([
    "blk.0.attn_qkv.weight",
    "blk.0.ffn_up.weight",
  ]);
});

test.each([64, 24, 8192, 2 ** 20])(
  "an alignment of %d is kept, and padding behind the last tensor may be missing",
  async (alignment) => {
    const pairs = new Map([
      ...PAIRS,
      [
        "general.alignment",
        encodePair("general.alignment", { uint32: alignment }),
      ],
    ]);
    const file = fileOf(TENSORS, alignment, pairs);
    const cut = file.subarray(0, file.length - paddingAfter(68, alignment));
    expect(cut.length).toBeLessThan(file.length);
    const [whole, short] = [await quantize(file), await quantize(cut)];
    expect(short.length).toBe(whole.length);
    expect(short.findIndex((byte, i) => byte !== whole[i])).toBe(-1);
    const { gguf, headBytes } = await read(whole);
    expect(gguf.alignment).toBe(alignment);
    expect(headBytes % alignment).toBe(0);
    const tensors = await tensorsOf(whole);
    expect(tensors.get("blk.0.ffn_down.weight")!.bytes).toEqual(
      TENSORS.at(-1)!.bytes,
    );
    // The same tensors as of another alignment.
    const plain = await tensorsOf(await quantize(fileOf(TENSORS)));
    expect([...tensors]).toEqual([...plain]);
  },
);

test("a vocabulary of many tokens is carried over", async () => {
  const strings = Array.from({ length: 50_000 }, (_, i) => `token ${i}`);
  const pairs = new Map([
    ...PAIRS,
    ["tokens", encodePair("tokens", { strings })],
  ]);
  const { gguf } = await read(await quantize(fileOf(TENSORS, 32, pairs)));
  const tokens = gguf.pairs.get("tokens")!;
  const expected = pairs.get("tokens")!;
  expect(tokens.length).toBe(expected.length);
  expect(tokens.findIndex((byte, i) => byte !== expected[i])).toBe(-1);
});

test("MXFP8 is refused by name: GGUF has no type of it", async () => {
  await expect(
    quantize(fileOf(TENSORS), { format: "mxfp8-e4m3" }),
  ).rejects.toThrow('Expected format mxfp4 for GGUF, got "mxfp8-e4m3"');
});
