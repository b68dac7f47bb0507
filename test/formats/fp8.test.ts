/**
 * FP8 checkpoints as sources, under the names and in the shapes that their writers give them. The twin
 * decodes element by element, and looks each one's scale up by its writer's own rule.
 */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import type { Dtype } from "../../src/formats/dtype.ts";
import { analysisOf } from "../../src/formats/operations/file-operation.ts";
import { planDequantize } from "../../src/formats/operations/dequantize-file.ts";
import { planHadamard } from "../../src/formats/operations/hadamard-file.ts";
import {
  planQuantize,
  type QuantizeChoices,
} from "../../src/formats/operations/quantize-file.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import { scalesFirst } from "../../src/formats/blocks/scales-first.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import type { Tensor } from "../../src/formats/tensor.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { f32, fileInOrder, floats, named } from "../http/tensor-support.ts";
import { decodeFloat8, type TwinType } from "../reference/mxfp8.ts";
import {
  collect,
  convert,
  dequantizeFile,
  quantizeFile,
} from "../support/files.ts";
import { normals, uniform } from "../support/random.ts";

type Part = { name: string; dtype: Dtype; shape: number[]; bytes: Uint8Array };

/** Every finite code, and as many more as there are. */
function codes(count: number, type: TwinType): Uint8Array {
  const next = uniform(count);
  return Uint8Array.from({ length: count }, (_, i) => {
    const code = i < 256 ? i : Math.floor(next() * 256);
    return Number.isFinite(decodeFloat8(code, type)) ? code : 0x38;
  });
}

/** Scales that need all bits of `dtype`, as its bytes and as numbers. */
function scalesOf(count: number, dtype: Dtype): [Uint8Array, number[]] {
  const floats = normals(count, count).map((x) => Math.abs(x) / 300 + 1e-5);
  if (dtype === "F8_E8M0") {
    const bytes = Uint8Array.from(floats, (_, i) => 118 + (i % 7));
    return [bytes, Array.from(bytes, (byte) => 2 ** (byte - 127))];
  }
  if (dtype === "F16") {
    const halves = new Float16Array(floats);
    return [new Uint8Array(halves.buffer), Array.from(halves)];
  }
  const words = new Uint32Array(floats.buffer);
  if (dtype === "F32") return [new Uint8Array(words.buffer), [...floats]];
  const tops = Uint16Array.from(words, (word) => word >>> 16);
  for (const i of words.keys()) words[i]! &= 0xffff0000;
  return [new Uint8Array(tops.buffer), [...floats]];
}

type Case = {
  weight: string;
  shape: number[];
  type?: TwinType;
  scale: string;
  scaleShape: number[];
  dtype: Dtype;
  /** Which scale the element at `e`, `o`, `i` of [E, out, in] has. */
  at: (e: number, o: number, i: number) => number;
};

const CASES: Record<string, Case> = {
  "DeepSeek-V3": {
    weight: "model.layers.0.self_attn.kv_a_proj_with_mqa.weight",
    shape: [576, 320],
    scale: "model.layers.0.self_attn.kv_a_proj_with_mqa.weight_scale_inv",
    scaleShape: [5, 3],
    dtype: "F32",
    at: (_, o, i) => 3 * Math.floor(o / 128) + Math.floor(i / 128),
  },
  "Qwen3-FP8": {
    weight: "model.layers.3.mlp.down_proj.weight",
    shape: [256, 384],
    scale: "model.layers.3.mlp.down_proj.weight_scale_inv",
    scaleShape: [2, 3],
    dtype: "BF16",
    at: (_, o, i) => 3 * Math.floor(o / 128) + Math.floor(i / 128),
  },
  "DeepSeek-V4": {
    weight: "layers.0.attn.wq_a.weight",
    shape: [130, 256],
    scale: "layers.0.attn.wq_a.scale",
    scaleShape: [2, 2],
    dtype: "F8_E8M0",
    at: (_, o, i) => 2 * Math.floor(o / 128) + Math.floor(i / 128),
  },
  "Llama FP8, float-quantized by channel": {
    weight: "model.layers.0.self_attn.q_proj.weight",
    shape: [70, 96],
    scale: "model.layers.0.self_attn.q_proj.weight_scale",
    scaleShape: [70, 1],
    dtype: "BF16",
    at: (_, o) => o,
  },
  "by channel, flat": {
    weight: "model.layers.0.self_attn.q_proj.weight",
    shape: [70, 96],
    scale: "model.layers.0.self_attn.q_proj.weight_scale",
    scaleShape: [70],
    dtype: "F16",
    at: (_, o) => o,
  },
  "Llama FP8, float-quantized by tensor": {
    weight: "model.layers.0.self_attn.q_proj.weight",
    shape: [33, 64],
    scale: "model.layers.0.self_attn.q_proj.weight_scale",
    scaleShape: [1],
    dtype: "F32",
    at: () => 0,
  },
  "ModelOpt, a scalar; E5M2": {
    weight: "model.layers.0.self_attn.q_proj.weight",
    shape: [33, 64],
    type: "e5m2",
    scale: "model.layers.0.self_attn.q_proj.weight_scale",
    scaleShape: [],
    dtype: "F32",
    at: () => 0,
  },
  "`scale` alone": {
    weight: "model.layers.0.self_attn.q_proj.weight",
    shape: [33, 64],
    scale: "model.layers.0.self_attn.q_proj.scale",
    scaleShape: [1],
    dtype: "BF16",
    at: () => 0,
  },
  "ComfyUI, fp8_scaled": {
    weight: "model.layers.0.self_attn.q_proj.weight",
    shape: [33, 64],
    scale: "model.layers.0.self_attn.q_proj.scale_weight",
    scaleShape: [],
    dtype: "F32",
    at: () => 0,
  },
  "Mistral, consolidated": {
    weight: "layers.0.attention.wq.weight",
    shape: [33, 64],
    scale: "layers.0.attention.wq.qscale_weight",
    scaleShape: [],
    dtype: "BF16",
    at: () => 0,
  },
  "experts in one tensor, by blocks": {
    weight: "model.layers.0.mlp.experts.down_proj",
    shape: [3, 160, 256],
    scale: "model.layers.0.mlp.experts.down_proj_scale_inv",
    scaleShape: [3, 2, 2],
    dtype: "F32",
    at: (e, o, i) => 4 * e + 2 * Math.floor(o / 128) + Math.floor(i / 128),
  },
  "experts in one tensor, one scale each": {
    weight: "model.layers.0.mlp.experts.down_proj",
    shape: [3, 40, 64],
    scale: "model.layers.0.mlp.experts.down_proj_scale",
    scaleShape: [3, 1, 1],
    dtype: "F32",
    at: (e) => e,
  },
  "blocks of 64": {
    weight: "model.layers.0.mlp.up_proj.weight",
    shape: [128, 192],
    scale: "model.layers.0.mlp.up_proj.weight_scale_inv",
    scaleShape: [2, 3],
    dtype: "F32",
    at: (_, o, i) => 3 * Math.floor(o / 64) + Math.floor(i / 64),
  },
  "more than one piece": {
    weight: "model.layers.0.mlp.up_proj.weight",
    shape: [300, 1024],
    scale: "model.layers.0.mlp.up_proj.weight_scale_inv",
    scaleShape: [3, 8],
    dtype: "F32",
    at: (_, o, i) => 8 * Math.floor(o / 128) + Math.floor(i / 128),
  },
};

/** The pair, and the values that it stands for. */
function made({ weight, shape, type = "e4m3", ...rest }: Case) {
  const { scale, scaleShape, dtype, at } = rest;
  const product = (sizes: number[]) => sizes.reduce((a, b) => a * b, 1);
  const bytes = codes(product(shape), type);
  const [scaleBytes, scales] = scalesOf(product(scaleShape), dtype);
  const [rows, columns] = shape.slice(-2) as [number, number];
  const values = Float32Array.from(bytes, (code, n) => {
    const [row, i] = [Math.floor(n / columns), n % columns];
    const place = at(Math.floor(row / rows), row % rows, i);
    return decodeFloat8(code, type) * scales[place]!;
  });
  const f8 = type === "e4m3" ? "F8_E4M3" : "F8_E5M2";
  const parts: [Part, Part] = [
    { name: weight, dtype: f8, shape, bytes },
    { name: scale, dtype, shape: scaleShape, bytes: scaleBytes },
  ];
  return { parts, values: f32(weight, shape, values) };
}

/** What tensors are, their bytes as a number. */
const digests = (tensors: readonly Tensor[]) =>
  Object.fromEntries(
    tensors.map(({ name, dtype, shape, bytes }) => {
      const sum = bytes.reduce((hash, byte) => (hash * 31 + byte) % 1e9, 7);
      return [name, [dtype, shape, sum]];
    }),
  );

const NORM = f32("model.layers.0.input_layernorm.weight", [64], normals(64, 9));
const SELECTION = { include: [], exclude: [] };

async function report(file: Uint8Array) {
  const source = sourceOf(file);
  const tensors = await readTensorFile(source, file.length);
  const analyzing = analysisOf({})(tensors);
  const text = await collect(analyzing.conversion, source);
  const report = analyzing.report();
  expect(JSON.parse(new TextDecoder().decode(text))).toEqual(report);
  return report;
}

const rotated = (file: Uint8Array) =>
  convert(file, (input) =>
    planHadamard(input, {
      direction: "forward",
      segmentLength: 16,
      seed: 5,
      selection: {
        include: ["*down_proj*"],
        exclude: [],
      },
    }),
  );

describe.each(Object.entries(CASES))("%s", (_, own) => {
  const { parts, values } = made(own);
  const [weight, scale] = parts;
  const plain = fileInOrder([NORM, values]);

  test.each([
    ["scales first", fileInOrder([scale, NORM, weight])],
    ["scales last", fileInOrder([weight, NORM, scale])],
  ])("%s", async (_order, file) => {
    const decoded = await dequantizeFile(file);
    const read = floats(decoded.file, weight.name);
    const twin = floats(readSafetensors(plain), weight.name);
    const wrong = read.findIndex((x, i) => !Object.is(x, twin[i]));
    // A difference of long arrays takes minutes to tell.
    expect([wrong, read[wrong]]).toEqual([-1, twin[wrong]]);
    expect(read).toHaveLength(twin.length);
    expect(decoded.file.tensors.map(({ name }) => name).toSorted()).toEqual(
      [NORM.name, weight.name].toSorted(),
    );

    const expected = await quantizeFile(plain, {});
    const quantized = await quantizeFile(file, {});
    expect(digests(quantized.file.tensors)).toEqual(
      digests(expected.file.tensors),
    );
    const { tensors, total } = await report(file);
    const floatReport = await report(plain);
    expect(total).toEqual(floatReport.total);
    for (const tensor of tensors) expect(tensor.dtype).toBe(weight.dtype);
  });
});

test("a rotation reads it too", async () => {
  const { parts, values } = made(CASES["Qwen3-FP8"]!);
  const file = readSafetensors(await rotated(fileInOrder([...parts])));
  const expected = readSafetensors(await rotated(fileInOrder([values])));
  expect(digests(file.tensors)).toEqual(digests(expected.tensors));
});

test.each(["input_scale", "scale_input", "qscale_act"])(
  "a pair that stays, stays as it was; an activation's %s goes with the weight",
  async (suffix) => {
    const { parts } = made(CASES["Llama FP8, float-quantized by tensor"]!);
    const input = f32(`model.layers.0.self_attn.q_proj.${suffix}`, [1], [2]);
    const other = parts.map((part) => ({
      ...part,
      name: part.name.replace("q_proj", "k_proj"),
    }));
    const file = fileInOrder([...parts, input, ...other]);
    const choices: QuantizeChoices = {
      scheme: DEFAULT_SCHEME,
      selection: { ...SELECTION, exclude: ["*k_proj*"] },
    };
    const out = readSafetensors(
      await convert(file, (tensors) => planQuantize(tensors, choices)),
    );
    for (const part of other) expect(named(out, part.name)).toEqual(part);
    const names = out.tensors.map(({ name }) => name);
    expect(names).not.toContain(parts[1].name);
    expect(names).not.toContain(input.name);
  },
);

test("a reader that may start anywhere takes scales first, and holds them alone", async () => {
  const { parts } = made(CASES["DeepSeek-V3"]!);
  const [weight, scale] = parts;
  const file = fileInOrder([weight, NORM, scale]);
  const input = await readTensorFile(sourceOf(file), file.length);
  const held = (tensors: typeof input) =>
    planDequantize(tensors, "F32").heldBytes;
  const pairs = { blocks: false, float8: true };
  expect(held(input)).toBe(weight.bytes.length);
  expect(held(scalesFirst(input, pairs).file)).toBe(scale.bytes.length);
  const asItIs = scalesFirst(input, { ...pairs, float8: false }).file;
  expect(held(asItIs)).toBe(weight.bytes.length);
});

test("FP8 without a scale are floats of their own", async () => {
  const bytes = codes(512, "e5m2");
  const values = Float32Array.from(bytes, (code) => decodeFloat8(code, "e5m2"));
  const f8: Part = { name: "x", dtype: "F8_E5M2", shape: [4, 128], bytes };
  const { file } = await quantizeFile(fileInOrder([f8]), {});
  const expected = await quantizeFile(
    fileInOrder([f32("x", [4, 128], values)]),
    {},
  );
  expect(digests(file.tensors)).toEqual(digests(expected.file.tensors));
});

describe("a weight without the scale that others have", () => {
  const { parts } = made(CASES["Llama FP8, float-quantized by tensor"]!);
  const bare = {
    ...parts[0],
    name: parts[0].name.replace("q_proj", "down_proj"),
  };
  // ComfyUI marks files by one like the last.
  const mark: Part = {
    name: "scaled_fp8",
    dtype: "F8_E4M3",
    shape: [2],
    bytes: new Uint8Array(2),
  };
  const file = fileInOrder([...parts, bare, mark]);
  const message =
    'Expected a scale beside "model.layers.0.self_attn.down_proj.weight", F8_E4M3, as "model.layers.0.self_attn.q_proj.weight" has one in "model.layers.0.self_attn.q_proj.weight_scale", got none';

  test("is refused by what would take its codes for values", async () => {
    await expect(quantizeFile(file, {})).rejects.toThrow(message);
    await expect(report(file)).rejects.toThrow(message);
    await expect(rotated(file)).rejects.toThrow(message);
  });

  test("passes as it is where nobody asks for it", async () => {
    const kept = [
      await convert(file, (tensors) =>
        planQuantize(tensors, {
          scheme: DEFAULT_SCHEME,
          selection: { ...SELECTION, exclude: [bare.name] },
        }),
      ),
      (await dequantizeFile(file)).bytes,
    ];
    for (const bytes of kept) {
      const { tensors } = readSafetensors(bytes);
      expect(digests(tensors)).toMatchObject(digests([bare, mark]));
    }
  });
});

test.each([
  ["F32", [3, 1], 'Expected tensor "x_scale" to have a scale for each'],
  ["F32", [2, 2, 1], 'Expected tensor "x_scale" to have a scale for each'],
  ["I32", [1], 'Expected tensor "x_scale", the scale of "x", to be F32'],
  ["U8", [4, 3], 'Expected tensor "x_scale", the scale of "x", to be F32'],
] as const)("a scale of %s %j is refused", async (dtype, shape, message) => {
  const count = shape.reduce((a: number, b) => a * b, 1);
  const file = fileInOrder([
    { name: "x", dtype: "F8_E4M3", shape: [4, 128], bytes: codes(512, "e4m3") },
    {
      name: "x_scale",
      dtype,
      shape: [...shape],
      bytes: new Uint8Array(count * (dtype === "U8" ? 1 : 4)),
    },
  ]);
  await expect(dequantizeFile(file)).rejects.toThrow(message);
  await expect(quantizeFile(file, {})).rejects.toThrow(message);
  await expect(report(file)).rejects.toThrow(message);
});
