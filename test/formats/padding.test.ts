/** Rows that are no multiple of 32 (or of the segment), and tensors that would end up misaligned. */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import type { Scheme } from "../../src/api/scheme.ts";
import { normals } from "../support/random.ts";
import { dequantizeFile, quantizeFile } from "../support/files.ts";
import { f32, fileInOrder, floats, named, u8 } from "../http/tensor-support.ts";

/** Rows of each length, so many that pieces end within rows, and rows within pieces. */
const SHAPES = [
  [1],
  [33],
  [5, 31],
  [3, 1],
  [700, 100],
  [2, 3, 65],
  [3, 65537 + 63],
];

describe.each<Partial<Scheme>>([
  {},
  { hadamard: 256, seed: 4 },
  { rounding: "stochastic", prescale: 0.75, hadamard: 64, seed: 1 },
])("%o", (scheme) => {
  test.each(SHAPES.map((shape) => [shape]))(
    "[%s] comes back in its shape, near its values, and padding does not show",
    async (shape) => {
      const unit = Math.max(32, scheme.hadamard ?? 0);
      const k = shape.at(-1)!;
      const padded = Math.ceil(k / unit) * unit;
      const rows = shape.slice(0, -1).reduce((count, size) => count * size, 1);
      const values = normals(rows * k, 5);
      const quantized = await quantizeFile(
        fileInOrder([f32("x", shape, values)]),
        scheme,
      );
      expect(named(quantized.file, "x_scales").shape).toEqual([
        ...shape.slice(0, -1),
        padded / 32,
      ]);
      expect(quantized.file.metadata.get("mxfp4.plain")).toBe(
        k === padded && !scheme.hadamard && !scheme.prescale ? "true" : "false",
      );

      // The same tensor padded by hand has the same bytes.
      const byHand = new Float32Array(rows * padded);
      for (let row = 0; row < rows; row++) {
        byHand.set(values.subarray(row * k, (row + 1) * k), row * padded);
      }
      const whole = await quantizeFile(
        fileInOrder([f32("x", [...shape.slice(0, -1), padded], byHand)]),
        scheme,
      );
      for (const part of ["x_blocks", "x_scales"])
        expect(named(quantized.file, part)).toEqual(named(whole.file, part));

      const back = await dequantizeFile(quantized.bytes);
      expect(named(back.file, "x").shape).toEqual(shape);
      const got = floats(back.file, "x");
      let [error, power] = [0, 0];
      values.forEach((value, i) => {
        error += (got[i]! - value) ** 2;
        power += value ** 2;
      });
      expect(error / power).toBeLessThan(0.1);
    },
  );
});

test("with the ggml layout such tensors stay as they are", async () => {
  const input = [
    f32("odd", [2, 33], normals(66, 1)),
    f32("even", [64], normals(64, 2)),
  ];
  const { file } = await quantizeFile(fileInOrder(input), {}, "ggml");
  expect(file.tensors.map(({ name }) => name)).toEqual(["odd", "even_ggml"]);
  expect(named(file, "odd")).toEqual(input[0]);
});

test("a wide tensor behind an odd number of scales is aligned by a filler, which does not come back", async () => {
  const input = [
    f32("a", [3, 32], normals(96, 1)),
    u8("ids", [4], [1, 2, 3, 4]),
    {
      name: "long",
      dtype: "I64" as const,
      shape: [2],
      bytes: new Uint8Array(16).fill(7),
    },
    f32("scalar", [], [3]),
  ];
  const { bytes, file } = await quantizeFile(fileInOrder(input), {});
  const start = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, start)),
  ) as Record<string, { data_offsets: [number, number] }>;
  expect(start % 8).toBe(0);
  expect(header.long!.data_offsets[0] % 8).toBe(0);
  expect(header.scalar!.data_offsets[0] % 4).toBe(0);
  expect(file.tensors.map(({ name }) => name)).toContain("mxfp4.filler.0");
  const back = await dequantizeFile(bytes);
  const names = back.file.tensors.map(({ name }) => name);
  expect(names.filter((name) => !name.startsWith("mxfp4.filler."))).toEqual(
    input.map(({ name }) => name),
  );
  for (const tensor of input.slice(1))
    expect(named(back.file, tensor.name)).toEqual(tensor);
});
