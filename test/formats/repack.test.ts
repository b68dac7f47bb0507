/** Blocks in other layouts: the same codes and scales, proven by a digest of what they decode to. */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import type { Layout } from "../../src/api/scheme.ts";
import { planRepack } from "../../src/formats/operations/repack-file.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import {
  f32,
  fileInOrder,
  fileOf,
  floats,
  named,
  u8,
} from "../http/tensor-support.ts";
import { convert, dequantizeFile, quantizeFile } from "../support/files.ts";
import { normals, uniform } from "../support/random.ts";

const repack = (file: Uint8Array, to: Layout) =>
  convert(file, (each) => planRepack(each, to));

/** Of all tensors' names, shapes and values, whatever the file's layout and order. */
async function digest(file: Uint8Array): Promise<string> {
  const { tensors } = (await dequantizeFile(file)).file;
  const parts = tensors
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, dtype, shape, bytes }) => [name, dtype, shape, [...bytes]]);
  const bytes = new TextEncoder().encode(JSON.stringify(parts));
  return Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString(
    "hex",
  );
}

/** More than a piece, NaN and zero blocks, and others between. */
function source(): Uint8Array<ArrayBuffer> {
  const large = normals(3 * 32768, 1).fill(0, 64, 96);
  large[200] = NaN;
  return fileOf([
    f32("a.weight", [3, 32768], large),
    f32("b.weight", [2, 3, 64], normals(384, 2)),
    u8("ids", [3], [1, 2, 3]),
  ]);
}

const CIRCLE = [
  "compressed-tensors",
  "quark",
  "ggml",
  "mlx",
  "gpt-oss",
] as const;

describe("around the circle of layouts", () => {
  test.each([
    ["recorded, as it is", {}],
    [
      "recorded, rotated and rounded at random",
      { hadamard: 64, rounding: "stochastic", seed: 3 },
    ],
  ] as const)(
    "%s: the digest stays, and at the end the bytes",
    async (_, scheme) => {
      const start = (await quantizeFile(source(), scheme, "gpt-oss")).bytes;
      const expected = await digest(start);
      let file = start;
      for (const layout of CIRCLE) {
        file = await repack(file, layout);
        expect(readSafetensors(file).metadata.get("mxfp4.layout")).toBe(layout);
        expect(await digest(file)).toBe(expected);
        const direct = (await quantizeFile(source(), scheme, layout)).file;
        for (const { name, dtype, shape, bytes } of direct.tensors)
          expect(named(readSafetensors(file), name)).toEqual({
            name,
            dtype,
            shape,
            bytes,
          });
      }
      expect(
        readSafetensors(file)
          .tensors.map(({ name }) => name)
          .toSorted(),
      ).toEqual(
        readSafetensors(start)
          .tensors.map(({ name }) => name)
          .toSorted(),
      );
    },
  );

  test("others' files, whose scales may come first, without a record", async () => {
    const next = uniform(9);
    const bytes = (length: number) =>
      Uint8Array.from({ length }, () => next() * 256);
    const blocks = u8("up.weight_packed", [4, 32], bytes(128));
    const scales = u8("up.weight_scale", [4, 2], bytes(8));
    for (const order of [
      [blocks, scales],
      [scales, blocks],
    ]) {
      let file: Uint8Array = fileInOrder([
        ...order,
        f32("norm", [3], [1, 2, 3]),
      ]);
      const expected = await digest(file);
      for (const layout of [
        "ggml",
        "quark",
        "mlx",
        "gpt-oss",
        "compressed-tensors",
      ] as const) {
        file = await repack(file, layout);
        expect(await digest(file)).toBe(expected);
        expect(readSafetensors(file).metadata.size).toBe(0);
      }
      const end = readSafetensors(file);
      expect(named(end, blocks.name).bytes).toEqual(blocks.bytes);
      expect(named(end, scales.name).bytes).toEqual(scales.bytes);
      expect(floats(end, "norm")).toEqual([1, 2, 3]);
    }
  });

  test("MXFP8 between its two", async () => {
    const start = (await quantizeFile(source(), { format: "mxfp8-e4m3" }))
      .bytes;
    const mlx = await repack(start, "mlx");
    expect(named(readSafetensors(mlx), "b.weight").dtype).toBe("U32");
    expect(await digest(mlx)).toBe(await digest(start));
    expect(await repack(mlx, "compressed-tensors")).toEqual(start);
  });
});

test("rows that were padded stay padded, and are cut off as before", async () => {
  const body = fileOf([f32("a.weight", [3, 40], normals(120, 4))]);
  const start = (await quantizeFile(body, {}, "gpt-oss")).bytes;
  const back = await repack(await repack(start, "ggml"), "gpt-oss");
  expect(back).toEqual(start);
  expect(await digest(await repack(start, "ggml"))).toBe(await digest(start));
});

test.each<[string, () => Promise<Uint8Array>, Layout, string]>([
  [
    "a file without blocks",
    async () => source(),
    "mlx",
    "Expected tensors to repack, got none but ",
  ],
  [
    "one that is in the layout",
    async () => (await quantizeFile(source(), {}, "mlx")).bytes,
    "mlx",
    "Expected tensors in another layout than mlx, got 2 that are in it",
  ],
  [
    "a layout that the format does not have",
    async () => (await quantizeFile(source(), { format: "mxfp8-e4m3" })).bytes,
    "ggml",
    'Expected layout compressed-tensors or mlx for mxfp8-e4m3, got "ggml"',
  ],
  [
    "a name that the layout does not have",
    async () =>
      (await quantizeFile(fileOf([f32("x", [32], normals(32, 1))]), {})).bytes,
    "mlx",
    'Expected names that end in "weight" for layout mlx, got "x"',
  ],
])("is refused: %s", async (_, file, to, message) => {
  await expect(repack(await file(), to)).rejects.toThrow(message);
});
