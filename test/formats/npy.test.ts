/** What numpy.lib.format reads of a .npy's head, as of NumPy 1.24, and what it refuses. */
import { expect, test } from "vitest";
import { AppError } from "../../src/api/errors.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import type { TensorFile } from "../../src/formats/containers/container.ts";

type Version = readonly [major: number, minor: number];

/** A file with this literal as its header, and this many bytes of zeros. */
function npy(
  literal: string,
  dataBytes: number,
  [major, minor]: Version = [1, 0],
): Uint8Array {
  const text = new TextEncoder().encode(literal);
  const length = major === 1 ? 2 : 4;
  const file = new Uint8Array(8 + length + text.length + dataBytes);
  file.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, major, minor, text.length]);
  file.set(text, 8 + length);
  return file;
}

function read(file: Uint8Array): Promise<TensorFile> {
  let at = 0;
  const source = {
    async take(bytes: number): Promise<Uint8Array> {
      at += bytes;
      return file.subarray(at - bytes, at);
    },
  };
  return readTensorFile(source, file.length);
}

async function refusal(file: Uint8Array): Promise<string> {
  const error: unknown = await read(file).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(AppError);
  const { code, message } = error as AppError;
  return `${code}: ${message}`;
}

function literal(descr: string, order = "False", shape = "(2, 4)"): string {
  return `{'descr': ${descr}, 'fortran_order': ${order}, 'shape': ${shape}, }`;
}

test.each([
  ["<f4", "F32", 4],
  ["=f4", "F32", 4],
  ["|f4", "F32", 4],
  ["f4", "F32", 4],
  ["=i8", "I64", 8],
  ["u2", "U16", 2],
  ["=c8", "C64", 8],
  ["<u1", "U8", 1],
  [">u1", "U8", 1],
  ["u1", "U8", 1],
  ["<i1", "I8", 1],
  [">i1", "I8", 1],
  ["=b1", "BOOL", 1],
  ["<b1", "BOOL", 1],
])("'%s' is %s", async (descr, dtype, bytes) => {
  const { tensors } = await read(npy(literal(`'${descr}'`), 8 * bytes));
  expect(tensors).toEqual([
    { name: "x", dtype, shape: [2, 4], start: 0, end: 8 * bytes },
  ]);
});

test.each([">f4", ">f8", ">i2", ">c8"])(
  "'%s' is refused with what to save in its place",
  async (descr) => {
    expect(await refusal(npy(literal(`'${descr}'`), 32))).toMatch(
      `unsupported_dtype: Expected a little-endian .npy of f8, f4, f2, i8, i4, i2, i1, u8, u4, u2, u1, b1, c8, got ${descr}; save x.astype('<${descr.slice(1)}')`,
    );
  },
);

test.each(["<f3", "<f16", "|O", "<U4", "|S4", "<M8[ns]", "<<f4", "<f4 ", ""])(
  "'%s' is a dtype that is not read",
  async (descr) => {
    expect(await refusal(npy(literal(`'${descr}'`), 32))).toContain(
      "unsupported_dtype: Expected a little-endian .npy of f8",
    );
  },
);

test.each([
  ["a string in place of the order", literal("'<f4'", "'False'")],
  ["a string in place of the shape", literal("'<f4'", "False", "'8'")],
  ["a string of commas there", literal("'<f4'", "False", "'8,'")],
  ["an order in place of the dtype", literal("True")],
  ["a number in brackets", literal("'<f4'", "False", "(8)")],
  ["a number in brackets and spaces", literal("'<f4'", "False", "( 8 )")],
  ["a comma alone", literal("'<f4'", "False", "(,)")],
  ["a shape as the order", literal("'<f4'", "(8,)")],
])("%s is refused", async (_, header) => {
  expect(await refusal(npy(header, 32))).toMatch(
    /^malformed_body: Expected \.npy with (a header of descr, fortran_order and shape, each once|whole sizes), got/,
  );
});

test("sizes are a tuple: one with its comma, none without", async () => {
  const shapes: [string, number[]][] = [
    ["(8,)", [8]],
    ["( 8 , )", [8]],
    ["(8,1,)", [8, 1]],
    ["(0, 3)", [0, 3]],
    ["()", []],
    ["( )", []],
  ];
  for (const [text, shape] of shapes) {
    const elements = shape.reduce((a, b) => a * b, 1);
    const file = npy(literal("'<f4'", "False", text), 4 * elements);
    expect((await read(file)).tensors[0]!.shape).toEqual(shape);
  }
});

test("versions 1.0, 2.0 and 3.0 are read, others are refused by their number", async () => {
  for (const version of [
    [1, 0],
    [2, 0],
    [3, 0],
  ] as Version[])
    expect(
      (await read(npy(literal("'<f4'"), 32, version))).tensors[0]!.dtype,
    ).toBe("F32");
  for (const version of [
    [0, 0],
    [1, 1],
    [2, 1],
    [3, 255],
    [4, 0],
  ] as Version[])
    expect(await refusal(npy(literal("'<f4'"), 32, version))).toBe(
      `malformed_body: Expected .npy with version 1.0, 2.0 or 3.0, got ${version.join(".")}`,
    );
});

test("a shape past 2^53 that ends in 0 is refused", async () => {
  const sizes = "(1099511627776, 1099511627776, 0)";
  expect(await refusal(npy(literal("'<f4'", "False", sizes), 0))).toContain(
    "fewer than 2^53 elements",
  );
});
