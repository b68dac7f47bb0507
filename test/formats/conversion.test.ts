/** A conversion can stop between any two pieces and go on elsewhere; either order of a pair decodes. */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import { AppError } from "../../src/api/errors.ts";
import { type Conversion, run } from "../../src/formats/stream/conversion.ts";
import { planDequantize } from "../../src/formats/operations/dequantize-file.ts";
import { planHadamard } from "../../src/formats/operations/hadamard-file.ts";
import type { TensorFile } from "../../src/formats/containers/container.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { SAFETENSORS } from "../../src/formats/containers/safetensors-file.ts";
import { planQuantize } from "../../src/formats/operations/quantize-file.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import {
  f32,
  fileInOrder,
  type Input as Tensor,
  u8,
} from "../http/tensor-support.ts";
import {
  collect,
  convert,
  dequantizeFile,
  quantizeFile,
} from "../support/files.ts";
import { normals, uniform } from "../support/random.ts";

const ALL = { include: [], exclude: [] };
const SCHEME = {
  ...DEFAULT_SCHEME,
  rounding: "stochastic",
  hadamard: 64,
  seed: 5,
} as const;

/** Tensors that are several pieces, less than one, padded, none at all, and passed through. */
const MIXED = fileInOrder([
  f32("large", [2, 65536], normals(2 * 65536, 1)),
  u8("ids", [7], [1, 2, 3, 4, 5, 6, 7]),
  f32("empty", [0, 64], []),
  f32("padded", [70, 1000], normals(70_000, 2)),
  f32("small", [64], normals(64, 3)),
]);

const quantize = (file: TensorFile): Conversion =>
  planQuantize(file, {
    scheme: SCHEME,
    layout: "gpt-oss",
    selection: ALL,
  });
const dequantize = (file: TensorFile): Conversion =>
  planDequantize(file, "BF16");
const rotate = (file: TensorFile): Conversion =>
  planHadamard(file, {
    direction: "forward",
    segmentLength: 64,
    seed: 1,
    selection: { include: [], exclude: ["padded"] },
  });

/** Like `toEqual`, which takes seconds for a MiB. */
function expectSameBytes(got: Uint8Array, want: Uint8Array): void {
  expect(got.length).toBe(want.length);
  expect(got.findIndex((byte, i) => byte !== want[i])).toBe(-1);
}

/** Convert one piece at a time, each on a conversion that was planned anew and resumed. */
async function convertInSteps(
  file: Uint8Array,
  plan: (file: TensorFile) => Conversion,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const input = await readTensorFile(sourceOf(file), file.length);
  let conversion = plan(input);
  chunks.push(conversion.head);
  while (conversion.wanted > 0) {
    const saved = structuredClone(conversion.save());
    conversion = plan(input);
    conversion.resume(saved);
    const start = input.headBytes + saved.inputBytes;
    const piece = file.slice(start, start + conversion.wanted);
    for (const chunk of conversion.convert(piece)) chunks.push(chunk.slice());
    const written = chunks.reduce((sum, { length }) => sum + length, 0);
    expect(conversion.outputBytes).toBe(written);
  }
  expect(conversion.outputBytes).toBe(conversion.totalBytes);
  return concatenate(conversion.totalBytes, chunks);
}

describe("stopped and resumed at every piece, the bytes are those of one go", () => {
  test("quantize", async () => {
    expectSameBytes(
      await convertInSteps(MIXED, quantize),
      await convert(MIXED, quantize),
    );
  });

  test("dequantize", async () => {
    const packed = await convert(MIXED, quantize);
    expectSameBytes(
      await convertInSteps(packed, dequantize),
      await convert(packed, dequantize),
    );
  });

  test("hadamard", async () => {
    expectSameBytes(
      await convertInSteps(MIXED, rotate),
      await convert(MIXED, rotate),
    );
  });
});

test("what is written has the length that was announced", async () => {
  for (const plan of [quantize, rotate]) {
    const source = sourceOf(MIXED);
    const conversion = plan(await readTensorFile(source, MIXED.length));
    const bytes = await collect(conversion, source);
    expect(bytes.length).toBe(conversion.totalBytes);
  }
});

test("an input that ends early is no output that ends early", async () => {
  const input = await readTensorFile(sourceOf(MIXED), MIXED.length);
  const cut = sourceOf(MIXED.subarray(input.headBytes, MIXED.length - 1));
  const read = async () => {
    for await (const _ of run(quantize(input), cut));
  };
  await expect(read()).rejects.toThrow("more bytes");
});

/** Elements and scales of `blocks` blocks at random, as a pair in either order. */
function pair(name: string, blocks: number, scalesFirst: boolean): Tensor[] {
  const next = uniform(blocks);
  const parts = [
    u8(
      `${name}_blocks`,
      [blocks, 16],
      Uint8Array.from({ length: blocks * 16 }, () => next() * 256),
    ),
    u8(
      `${name}_scales`,
      [blocks],
      Uint8Array.from({ length: blocks }, () => 100 + next() * 50),
    ),
  ];
  return scalesFirst ? parts.reverse() : parts;
}

test("scales may come first, and pairs may lie across each other", async () => {
  const [a, b] = [pair("a", 2500, false), pair("b", 40, false)];
  const plain = (await dequantizeFile(fileInOrder([...a, ...b]))).file;
  for (const order of [
    [...a.toReversed(), ...b.toReversed()],
    [a[0]!, b[0]!, a[1]!, b[1]!],
    [a[0]!, b[1]!, b[0]!, a[1]!],
  ]) {
    const { file } = await dequantizeFile(fileInOrder(order));
    expect(file.tensors.toSorted((x, y) => (x.name < y.name ? -1 : 1))).toEqual(
      plain.tensors,
    );
  }
});

describe("what would have to be held is bounded by 32 MiB", () => {
  const head = (name: string, shape: number[]) => ({
    name,
    dtype: "U8" as const,
    shape,
    start: 0,
    end: shape.reduce((count, size) => count * size, 1),
  });
  const plan = (...tensors: ReturnType<typeof head>[]) => {
    let at = 0;
    return planDequantize(
      {
        target: SAFETENSORS,
        headBytes: 0,
        metadata: new Map(),
        tensors: tensors.map((tensor) => {
          const start = at;
          at += tensor.end;
          return { ...tensor, start, end: at };
        }),
        dataBytes: at,
        alignment: 8,
      },
      "F32",
    );
  };
  const blocks = (name: string, count: number) =>
    head(`${name}_blocks`, [count, 16]);
  const scales = (name: string, count: number) =>
    head(`${name}_scales`, [count]);
  const MOST = (32 * 2 ** 20) / 16;

  test("blocks of one tensor", () => {
    expect(plan(blocks("a", MOST), scales("a", MOST)).heldBytes).toBe(2 ** 25);
    const refused = () => plan(blocks("a", MOST + 1), scales("a", MOST + 1));
    expect(refused).toThrow("/v1/jobs");
    expect(refused).toThrow(AppError);
  });

  test("blocks of several at once", () => {
    const half = MOST / 2;
    const [a, b, c] = ["a", "b", "c"].map((name) => [
      blocks(name, half),
      scales(name, half),
    ]) as [[never, never], [never, never], [never, never]];
    expect(plan(...a, ...b, ...c).heldBytes).toBe(2 ** 24);
    expect(plan(a[0], b[0], a[1], b[1]).heldBytes).toBe(2 ** 25);
    expect(() => plan(a[0], b[0], c[0], a[1], b[1], c[1])).toThrow("/v1/jobs");
  });

  test("scales that come first take a sixteenth", () => {
    expect(plan(scales("a", MOST * 2), blocks("a", MOST * 2)).heldBytes).toBe(
      2 ** 22,
    );
  });
});

test("the layouts hold the same values", async () => {
  const file = fileInOrder([f32("m.weight", [3, 96], normals(288, 6))]);
  const decoded = async (layout: "gpt-oss" | "ggml" | "compressed-tensors") => {
    const quantized = await quantizeFile(file, SCHEME, layout);
    const names = quantized.file.tensors.map(({ name, shape }) => [
      name,
      ...shape,
    ]);
    return { names, file: (await dequantizeFile(quantized.bytes)).file };
  };
  const plain = await decoded("gpt-oss");
  expect(plain.names).toEqual([
    ["m.weight_blocks", 3, 4, 16],
    ["m.weight_scales", 3, 4],
  ]);
  const packed = await decoded("compressed-tensors");
  expect(packed.names).toEqual([
    ["m.weight_packed", 3, 64],
    ["m.weight_scale", 3, 4],
  ]);
  expect(packed.file).toEqual(plain.file);
  const whole = fileInOrder([f32("m.weight", [3, 128], normals(384, 6))]);
  const ggml = await quantizeFile(whole, SCHEME, "ggml");
  expect(ggml.file.tensors.map(({ name, shape }) => [name, ...shape])).toEqual([
    ["m.weight_ggml", 3, 4, 17],
  ]);
  const same = await quantizeFile(whole, SCHEME);
  expect((await dequantizeFile(ggml.bytes)).file).toEqual(
    (await dequantizeFile(same.bytes)).file,
  );
});
