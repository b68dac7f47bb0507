/** Floats in memory, and heads of files: the same as through a file. */
import { describe, expect, test } from "vitest";
import type { FloatsOptions, QuantizedFloats } from "../../src/api/tensors.ts";
import { PRESET_NAMES } from "../../src/api/presets.ts";
import {
  dequantize,
  dequantizeFloats,
  quantize,
  quantizeFloats,
  readHead,
} from "../../src/index.ts";
import {
  encodePair,
  writeGgufHead,
} from "../../src/formats/containers/gguf-writer.ts";
import { f32, fileInOrder, u8 } from "../http/tensor-support.ts";
import { normals } from "../support/random.ts";

/** Its one tensor's parts, in the order of the file. */
async function parts(answer: Promise<Response>): Promise<Uint8Array[]> {
  const bytes = new Uint8Array(await (await answer).arrayBuffer());
  const { tensors } = await readHead(bytes);
  return tensors.map(({ start, end }) => bytes.slice(start, end));
}

const floatsOf = ([part]: Uint8Array[]) =>
  new Float32Array(part!.slice().buffer);

const CASES: [FloatsOptions, number][] = [
  [{}, 256],
  [{ shape: [4, 64] }, 256],
  [{ shape: [2, 3, 33] }, 198],
  [{ shape: [3, 1] }, 3],
  [{ shape: [64] }, 64],
  [{ shape: [4, 64], rounding: "stochastic", hadamard: 64, seed: 3 }, 256],
  [{ shape: [2, 40], hadamard: 128, prescale: 0.75 }, 80],
  [{ shape: [4, 64], format: "mxfp8-e4m3" }, 256],
  [{ shape: [3, 33], format: "mxfp8-e5m2", hadamard: 64, seed: 9 }, 99],
  ...PRESET_NAMES.map((preset): [FloatsOptions, number] => [
    { preset, shape: [4, 64] },
    256,
  ]),
];

describe.each(CASES)("%o", (options, length) => {
  const values = normals(length, 1);
  const { shape = [length], preset: _, ...scheme } = options;

  test("blocks, scales and floats are those of a file", async () => {
    const raw = { dtype: "f32", shape } as const;
    const told = {
      ...scheme,
      ...(options.preset && { preset: options.preset }),
    };
    const layout =
      (options.format ?? "mxfp4") === "mxfp4"
        ? "gpt-oss"
        : "compressed-tensors";
    const file = { ...told, raw, layout } as const;
    const packed = await quantizeFloats(values, options);
    expect([packed.blocks, packed.scales]).toEqual(
      await parts(quantize(values, file)),
    );
    expect(packed.shape).toEqual(shape);

    const answer = await quantize(values, file);
    const decoded = dequantize(await answer.blob());
    expect(await dequantizeFloats(packed)).toEqual(
      floatsOf(await parts(decoded)),
    );
  });
});

test("blocks and scales of others are decoded plainly", async () => {
  const blocks = new Uint8Array(32).fill(0x22);
  const scales = Uint8Array.of(126, 127);
  const expected = [...Array(32).fill(0.5), ...Array(32).fill(1)];
  expect([...(await dequantizeFloats({ blocks, scales }))]).toEqual(expected);
  const shaped = await dequantizeFloats({ blocks, scales, shape: [2, 32] });
  expect([...shaped]).toEqual(expected);
});

test("what the caller gave stays as it was", async () => {
  const values = normals(64, 1);
  const before = values.slice();
  await quantizeFloats(values, { hadamard: 64 });
  expect(values).toEqual(before);
});

test.each([
  [[1, 2], {}, /a Float32Array, got \[1,2\]$/],
  [new Float64Array(32), {}, /a Float32Array, got Float64Array$/],
  [new Float32Array(32), { hadamard: 48 }, /`hadamard` .* got 48$/],
  [new Float32Array(32), { layout: "ggml" }, /got `layout`$/],
  [new Float32Array(32), { shape: [33] }, /Expected 132 bytes for F32 \[33\]/],
  [new Float32Array(32), { shape: 32 }, /`shape` .* got 32$/],
])("%o with %o is refused", async (values, options, message) => {
  await expect(
    quantizeFloats(values as Float32Array, options as FloatsOptions),
  ).rejects.toMatchObject({
    name: "AppError",
    message: expect.stringMatching(message),
  });
});

test.each([
  [{ blocks: [1], scales: new Uint8Array(1) }, /`blocks` to be a Uint8Array/],
  [
    { blocks: new Uint8Array(16) },
    /`scales` to be a Uint8Array, got undefined/,
  ],
  [
    { blocks: new Uint8Array(15), scales: new Uint8Array(1) },
    /^Expected 16 and 1 bytes of blocks and scales for \[32\], got 15 and 1$/,
  ],
  [{ blocks: new Uint8Array(16), scales: new Uint8Array(2) }, /got 16 and 2$/],
  [
    { blocks: new Uint8Array(32), scales: new Uint8Array(2), shape: [3, 32] },
    /^Expected 48 and 3 bytes .* for \[3, 32\], got 32 and 2$/,
  ],
])("%o is refused", async (packed, message) => {
  await expect(
    dequantizeFloats(packed as unknown as QuantizedFloats),
  ).rejects.toMatchObject({
    name: "AppError",
    message: expect.stringMatching(message),
  });
});

describe("a head", () => {
  test("of safetensors", async () => {
    const file = fileInOrder(
      [f32("a", [2, 3], normals(6, 1)), u8("b", [5], [1, 2, 3, 4, 5])],
      { by: "us" },
    );
    const { container, tensors, metadata } = await readHead(file);
    expect({ container, metadata }).toEqual({
      container: "safetensors",
      metadata: { by: "us" },
    });
    expect(tensors).toMatchObject([
      { name: "a", dtype: "F32", shape: [2, 3] },
      { name: "b", dtype: "U8", shape: [5], end: file.length },
    ]);
    const { start, end } = tensors[1]!;
    expect([...file.subarray(start, end)]).toEqual([1, 2, 3, 4, 5]);
  });

  test("of a GGUF: shapes as rows, strings and scalars as text", async () => {
    const pair = (key: string, value: Parameters<typeof encodePair>[1]) =>
      [key, encodePair(key, value)] as const;
    const pairs = new Map([
      pair("general.architecture", { string: "gpt2" }),
      pair("gpt2.context_length", { uint32: 64 }),
      pair("gpt2.epsilon", { float32: 0.5 }),
      pair("tokens", { strings: ["a"] }),
    ]);
    const tensors = [
      { name: "a", dimensions: [4, 2], type: 0 },
      { name: "b", dimensions: [32], type: 2 },
    ];
    const { head, dataBytes } = writeGgufHead(pairs, tensors);
    const file = new Uint8Array(head.length + dataBytes);
    file.set(head);
    expect(await readHead(file)).toEqual({
      container: "gguf",
      metadata: {
        "general.architecture": "gpt2",
        "gpt2.context_length": "64",
        "gpt2.epsilon": "0.5",
      },
      tensors: [
        {
          name: "a",
          dtype: "F32",
          shape: [2, 4],
          start: head.length,
          end: head.length + 32,
        },
        {
          name: "b",
          dtype: "Q4_0",
          shape: [32],
          start: head.length + 32,
          end: head.length + 50,
        },
      ],
    });
  });

  test("of a .npy", async () => {
    const text =
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".padEnd(
        117,
      ) + "\n";
    const file = new Uint8Array(128 + 24);
    file.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 118, 0]);
    file.set(new TextEncoder().encode(text), 10);
    expect((await readHead(file)).tensors).toEqual([
      { name: "x", dtype: "F32", shape: [2, 3], start: 128, end: 152 },
    ]);
  });

  test("is all that is read of a stream, which is given back", async () => {
    const file = fileInOrder([f32("a", [64], normals(64, 1))]);
    let given = 0;
    let cancelled = false;
    const stream = new ReadableStream<Uint8Array>(
      {
        pull: (controller) =>
          controller.enqueue(file.slice(given, (given += 16))),
        cancel: () => void (cancelled = true),
      },
      { highWaterMark: 0 },
    );
    await readHead({ stream, bytes: file.length });
    expect(given).toBeLessThan(file.length - 200);
    expect({ cancelled, locked: stream.locked }).toEqual({
      cancelled: true,
      locked: false,
    });
  });

  test("that is none is refused", async () => {
    await expect(readHead(new Uint8Array(64))).rejects.toMatchObject({
      code: "malformed_body",
    });
    await expect(readHead("x" as never)).rejects.toMatchObject({
      code: "malformed_body",
    });
  });
});
