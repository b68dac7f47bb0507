/** Directories whose matrices are in MXFP4 already write what their floats write when they are packed here. */
import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { writeSafetensors } from "../../src/formats/containers/safetensors.ts";
import { openTextModel } from "../../src/generation/open-model.ts";
import type { WeightFormat } from "../../src/kernels/decode.ts";
import { dequantizeMxfp4, quantizeMxfp4 } from "../../src/kernels/mxfp4.ts";
import {
  architectureOf,
  completeShape,
  modelOf,
} from "../../src/model/architectures.ts";
import { KeyValueCache } from "../../src/model/key-value-cache.ts";
import { normals } from "../support/random.ts";
import { type Files, folderIn } from "../support/text-models.ts";

const sizes = { layers: 2, width: 64, heads: 4, context: 32, vocabulary: 256 };
const SHAPES = {
  llama: completeShape({ ...sizes, arch: "llama", tied: false }),
  gpt2: completeShape(sizes),
};
type Model = keyof typeof SHAPES;
const TOKENS = [5, 77, 200, 3, 3, 91];

type Stored = {
  name: string;
  dtype: "F32" | "U8" | "U32";
  shape: number[];
  bytes: Uint8Array;
};

/** How others name and type the two parts of `x.weight` [out, in]. */
type PartHead = Pick<Stored, "name" | "dtype" | "shape">;
const LAYOUTS = {
  "compressed-tensors": (name, out, blocks) => [
    { name: `${name}_packed`, dtype: "U8", shape: [out, 16 * blocks] },
    { name: `${name}_scale`, dtype: "U8", shape: [out, blocks] },
  ],
  quark: (name, out, blocks) => [
    { name, dtype: "U8", shape: [out, 16 * blocks] },
    { name: `${name}_scale`, dtype: "U8", shape: [out, blocks] },
  ],
  mlx: (name, out, blocks) => [
    { name, dtype: "U32", shape: [out, 4 * blocks] },
    {
      name: name.replace(/weight$/, "scales"),
      dtype: "U8",
      shape: [out, blocks],
    },
  ],
} as const satisfies Record<
  string,
  (name: string, out: number, blocks: number) => PartHead[]
>;
type LayoutName = keyof typeof LAYOUTS;

function turned(x: Float32Array, rows: number, columns: number): Float32Array {
  return x.map((_, at) => x[(at % rows) * columns + Math.floor(at / rows)]!);
}

/** Codes and scales of a matrix by rows, and what they stand for. */
function packed(x: Float32Array) {
  return arena.scope(() => {
    const [codes, scales] = [
      arena.alloc(x.length / 2),
      arena.alloc(x.length / 32),
    ];
    const quantizer = {
      rounding: { mode: "nearest-even" },
      scale: "even",
      prescale: 1,
    } as const;
    quantizeMxfp4(codes, scales, arena.copyIn(x), x.length, quantizer);
    const back = arena.allocF32(x.length);
    dequantizeMxfp4(back, codes, scales, x.length, 1);
    return {
      codes: arena.u8(codes, x.length / 2).slice(),
      scales: arena.u8(scales, x.length / 32).slice(),
      values: arena.f32(back, x.length).slice(),
    };
  });
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.slice().buffer);

const directory = (model: Model, as: "floats" | "values" | LayoutName): Files =>
  filesOf(model, storedOf(model, as));

/** Of random weights: as floats, as floats that MXFP4 has, or in blocks. */
function storedOf(
  model: Model,
  as: "floats" | "values" | LayoutName,
): Stored[] {
  const shape = SHAPES[model];
  return modelOf(shape).table.tensors.flatMap((tensor, index) => {
    const { name, group, shape: own, layout } = tensor;
    const isGain = group === "vector" && !name.endsWith("bias");
    const values = normals(tensor.length, index + 1).map((x) =>
      isGain ? 1 + 0.2 * x : 0.3 * x,
    );
    const plain = { name, dtype: "F32" as const, shape: own };
    if (group !== "matrix" || as === "floats")
      return [{ ...plain, bytes: bytesOf(values) }];
    const [first, second] = own as [number, number];
    const [out, inside] =
      layout === "out-in" ? [first, second] : [second, first];
    const isTurned = layout === "in-out";
    const rows = isTurned ? turned(values, inside, out) : values;
    const blocks = packed(rows);
    if (as === "values") {
      const back = isTurned
        ? turned(blocks.values, out, inside)
        : blocks.values;
      return [{ ...plain, bytes: bytesOf(back) }];
    }
    return LAYOUTS[as](name, out, inside / 32).map((head, i): Stored => ({
      ...head,
      bytes: i === 0 ? blocks.codes : blocks.scales,
    }));
  });
}

/** The layers that Phi-3 stores as one: the rows of each part below those of the one before. */
function fused(stored: readonly Stored[]): Stored[] {
  const wholes = new Map<string, Stored>();
  for (const part of stored) {
    const name = part.name
      .replace(/[qkv]_proj/, "qkv_proj")
      .replace(/(gate|up)_proj/, "gate_up_proj");
    const above = wholes.get(name);
    const [rows = 0, ...others] = part.shape;
    const bytes = [...(above ? [above.bytes] : []), part.bytes];
    const length = bytes.reduce((sum, each) => sum + each.length, 0);
    wholes.set(name, {
      ...part,
      name,
      shape: [(above?.shape[0] ?? 0) + rows, ...others],
      bytes: concatenate(length, bytes as Uint8Array<ArrayBuffer>[]),
    });
  }
  return [...wholes.values()];
}

function filesOf(model: Model, stored: Stored[], told: object = {}): Files {
  const shape = SHAPES[model];
  const config = {
    ...architectureOf(shape).huggingFaceConfig(shape),
    ...told,
  };
  const { bytes, chunks } = writeSafetensors(
    stored.map(({ bytes: own, ...head }) => ({
      ...head,
      chunks: [own as Uint8Array<ArrayBuffer>],
    })),
    new Map(),
  );
  return new Map([
    ["config.json", new TextEncoder().encode(JSON.stringify(config))],
    ["model.safetensors", concatenate(bytes, [...chunks])],
  ]);
}

async function logits(files: Files, format: WeightFormat) {
  const opened = await openTextModel(folderIn(files));
  const { decoder, weights } = await opened.load(format);
  const cache = new KeyValueCache(decoder, TOKENS.length);
  try {
    return decoder.forward(weights, cache, TOKENS);
  } finally {
    cache.free();
    weights.free();
  }
}

describe.each(Object.keys(SHAPES) as Model[])("a %s", (model) => {
  it.each(Object.keys(LAYOUTS) as LayoutName[])(
    "in MXFP4 as %s is multiplied as it is, and in f32 as what it stands for",
    async (layout) => {
      const own = directory(model, layout);
      const floats = await logits(directory(model, "floats"), "mxfp4");
      expect(await logits(own, "mxfp4")).toEqual(floats);
      const values = await logits(directory(model, "values"), "f32");
      expect(await logits(own, "f32")).toEqual(values);
      expect(values).not.toEqual(floats);
    },
  );
});

it.each(["floats", ...(Object.keys(LAYOUTS) as LayoutName[])] as const)(
  "a Phi-3 with layers of one input as one, as %s, is the Llama of the same rows",
  async (layout) => {
    const whole = fused(storedOf("llama", layout));
    const phi3 = filesOf("llama", whole, { model_type: "phi3" });
    for (const format of ["f32", "mxfp4"] as const) {
      const expected = await logits(directory("llama", layout), format);
      expect(await logits(phi3, format)).toEqual(expected);
    }
  },
);

describe("it is refused", () => {
  const change = (each: (stored: Stored[]) => Stored[]) => {
    const tensors = modelOf(SHAPES.llama).table.tensors.map(
      ({ name, shape, length }): Stored => ({
        name,
        dtype: "F32",
        shape,
        bytes: new Uint8Array(4 * length),
      }),
    );
    return logits(filesOf("llama", each(tensors)), "mxfp4");
  };
  const name = "model.layers.0.mlp.up_proj.weight";
  const blocks = (rows: number, count: number, scale = 127): Stored[] => [
    {
      name: `${name}_packed`,
      dtype: "U8",
      shape: [rows, 16 * count],
      bytes: new Uint8Array(rows * 16 * count),
    },
    {
      name: `${name}_scale`,
      dtype: "U8",
      shape: [rows, count],
      bytes: new Uint8Array(rows * count).fill(scale),
    },
  ];
  const without = (stored: Stored[]) =>
    stored.filter((each) => each.name !== name);

  it.each([
    [
      "where blocks are of another shape",
      blocks(192, 4),
      `Expected "${name}" of [192, 64], got [192, 128]`,
    ],
    ["where a block is of a NaN", blocks(192, 2, 255), "got a block of a NaN"],
    [
      "where a weight is missing",
      [],
      `Expected "${name}" of [192, 64], got none`,
    ],
  ])("%s", async (_, others, message) => {
    await expect(
      change((stored) => [...without(stored), ...others]),
    ).rejects.toThrow(message);
  });

  it("where a weight is there twice", async () => {
    await expect(
      change((stored) => [...stored, ...blocks(192, 2)]),
    ).rejects.toThrow(`got "${name}" too`);
  });
});
