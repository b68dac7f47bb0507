/** Values that are not finite, or become so, are heard by tensor and element, whatever a file and an operation. */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import type { FileOperation } from "../../src/api/tensors.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { planFile } from "../../src/formats/operations/file-operation.ts";
import {
  KeptValues,
  valuesOf,
} from "../../src/formats/operations/nonfinite-values.ts";
import { run } from "../../src/formats/stream/conversion.ts";
import { sourceOf } from "../../src/formats/stream/source.ts";
import { f32, fileOf, type Input, u8 } from "../http/tensor-support.ts";
import { normals } from "../support/random.ts";

type Request = Pick<FileOperation, "operation"> & {
  options?: Record<string, unknown>;
};

/** What is said of the file, or nothing. */
async function heard(
  bytes: Uint8Array,
  request: Request,
): Promise<string | undefined> {
  const source = sourceOf(bytes);
  const file = await readTensorFile(source, bytes.length);
  try {
    for await (const _ of run(
      planFile(file, request as FileOperation),
      source,
    ));
  } catch (error) {
    expect(error).toMatchObject({ code: "nonfinite_value" });
    return (error as Error).message;
  }
  return undefined;
}

/** The same with `nonfinite=keep`: what is kept of each tensor. */
async function keptOf(bytes: Uint8Array, request: Request) {
  const source = sourceOf(bytes);
  const file = await readTensorFile(source, bytes.length);
  const kept = new KeptValues();
  const conversion = planFile(
    file,
    request as FileOperation,
    valuesOf("keep", kept),
  );
  for await (const _ of run(conversion, source));
  return Object.fromEntries(kept.tensors);
}

const SHAPE = [3, 70_000];

/** Normals with some other values, at elements by number. */
function floats(
  dtype: "F64" | "F32" | "F16" | "BF16",
  others: Record<number, number>,
  shape = SHAPE,
): Input {
  const values = normals(
    shape.reduce((n, size) => n * size, 1),
    5,
  );
  for (const [at, value] of Object.entries(others)) values[+at] = value;
  if (dtype === "F64") {
    const bytes = new Uint8Array(
      Float64Array.from(values, (x, i) => others[i] ?? x).buffer,
    );
    return { name: "w", dtype, shape, bytes };
  }
  if (dtype === "F32") return f32("w", shape, values);
  const halves =
    dtype === "F16"
      ? new Float16Array(values).buffer
      : Uint16Array.from(new Uint32Array(values.buffer), (word) => word >>> 16)
          .buffer;
  return { name: "w", dtype, shape, bytes: new Uint8Array(halves) };
}

const at = (element: number, [, k = 1] = SHAPE) =>
  `element ${element}, [${Math.floor(element / k)}, ${element % k}];`;

describe("quantize", () => {
  test.each(["F64", "F32", "F16", "BF16"] as const)(
    "what is NaN or infinite in %s, wherever it stands",
    async (dtype) => {
      for (const element of [0, 33, 69_999, 70_000, 131_075, 209_999]) {
        for (const value of [NaN, Infinity, -Infinity]) {
          const file = fileOf([floats(dtype, { [element]: value })]);
          for (const options of [
            {},
            { hadamard: 64 },
            { layout: "compressed-tensors" },
            { format: "mxfp8-e4m3" },
          ]) {
            expect(
              await heard(file, { operation: "quantize", options }),
            ).toContain(`tensor "w", got ${value} at ${at(element)}`);
          }
        }
      }
    },
  );

  test.each([
    [{}, 3.4e38],
    [{ scale: "rceil" }, 3.4e38],
    [{ scale: "mse" }, -3.4e38],
    [{ format: "mxfp8-e4m3" }, 3.39e38],
    [{ format: "mxfp8-e5m2" }, 3.39e38],
    [{ layout: "ggml", scale: "ceil" }, 3.4e38],
    [{ rounding: "stochastic", seed: 3 }, 3.4e38],
    [{ prescale: 0.75, scale: "even" }, 3.4e38],
    [{ hadamard: 32 }, 3.4e38],
  ])("%j: %d, which decodes to an infinity", async (options, value) => {
    const shape = [4, 64];
    // A rotation spreads one over its segment: all of them have to be large.
    const others = "hadamard" in options ? fill(64, 96, value) : { 70: value };
    const file = fileOf([floats("F32", others, shape)]);
    expect(await heard(file, { operation: "quantize", options })).toMatch(
      /tensor "w", got -?3\.[34]\d*e\+38, beyond what it becomes, at element (70|64), \[1, [06]\];/,
    );
  });

  test("what OCP's rule clips is finite, and so is what lies just below", async () => {
    const shape = [1, 32];
    for (const [scale, value] of [
      ["floor", 3.4e38],
      ["even", 2.9e38],
      ["rceil", 2.9e38],
    ] as const) {
      const file = fileOf([floats("F32", { 3: value }, shape)]);
      const options = { scale };
      expect(await heard(file, { operation: "quantize", options })).toBe(
        undefined,
      );
    }
  });

  test("a double beyond f32 is told as it is", async () => {
    const file = fileOf([floats("F64", { 5: -1e300 }, [2, 32])]);
    expect(await heard(file, { operation: "quantize" })).toContain(
      "got -1e+300, beyond f32, at element 5, [0, 5];",
    );
  });

  test("rows that are padded count as they were", async () => {
    const file = fileOf([floats("F32", { 71: NaN }, [3, 33])]);
    expect(await heard(file, { operation: "quantize" })).toContain(
      "got NaN at element 71, [2, 5];",
    );
  });

  test("FP8 with scales: a code that is NaN, and a product beyond f32", async () => {
    const weight = (codes: number[]) => ({
      ...u8("w.weight", [2, 32], codes),
      dtype: "F8_E4M3" as const,
    });
    const codes = Array(64).fill(0x38);
    codes[40] = 0x7f;
    const scale = f32("w.weight_scale", [2, 1], [1, 1]);
    const nan = fileOf([weight(codes), scale]);
    expect(await heard(nan, { operation: "quantize" })).toContain(
      'tensor "w.weight", got NaN at element 40, [1, 8];',
    );
    expect(await heard(nan, { operation: "dequantize" })).toContain(
      "got NaN at element 40, [1, 8];",
    );
    codes[40] = 0x7e;
    const large = f32("w.weight_scale", [2, 1], [1, 1e37]);
    const beyond = fileOf([weight(codes), large]);
    expect(await heard(beyond, { operation: "quantize" })).toContain(
      "got Infinity at element 40, [1, 8];",
    );
  });

  test.each(["F64", "F32", "F16", "BF16"] as const)(
    "%s that a model's file keeps, at any place and of any length",
    async (dtype) => {
      const layer = f32(
        "model.layers.0.mlp.up_proj.weight",
        [2, 32],
        normals(64, 1),
      );
      const fileWith = (length: number, others: Record<number, number>) => {
        const norm = floats(dtype, others, [length]);
        return fileOf([layer, { ...norm, name: "model.norm.weight" }]);
      };
      const quantize = { operation: "quantize" } as const;
      for (const [length, element] of [
        [1, 0],
        [7, 6],
        [64, 0],
        [64, 33],
        [131_077, 131_072],
        [131_077, 131_076],
      ] as const) {
        for (const value of [NaN, Infinity, -Infinity])
          expect(
            await heard(fileWith(length, { [element]: value }), quantize),
          ).toContain(
            `tensor "model.norm.weight", got ${value} at element ${element}, [${element}];`,
          );
        expect(
          await keptOf(fileWith(length, { [element]: NaN }), quantize),
        ).toEqual({ "model.norm.weight": { values: 1, first: element } });
      }
      const largest = { F64: 1.7e308, F32: 3.4e38, F16: 65504, BF16: 3.3e38 };
      const finite = fileWith(9, { 4: largest[dtype], 5: -largest[dtype] });
      expect(await heard(finite, quantize)).toBe(undefined);
    },
  );

  test("what patterns leave out may hold anything", async () => {
    const mask = { ...floats("F32", { 3: -Infinity }, [1, 32]), name: "mask" };
    const file = fileOf([floats("F32", {}, [1, 32]), mask]);
    const options = { include: ["w"] };
    expect(await heard(file, { operation: "quantize", options })).toBe(
      undefined,
    );
  });

  test("kept, all of them are counted", async () => {
    const file = fileOf([
      floats("BF16", { 40: NaN, 41: Infinity, 131_075: NaN }),
    ]);
    expect(await keptOf(file, { operation: "quantize" })).toEqual({
      w: { values: 3, first: 40 },
    });
  });
});

describe("dequantize", () => {
  const packed = (codes: number[], scales: number[]) =>
    fileOf([u8("w_blocks", [2, 1, 16], codes), u8("w_scales", [2, 1], scales)]);
  const ONES = Array(32).fill(0x22);

  test.each([
    ["f32", [127, 255], "got NaN at element 32, [1, 0];"],
    ["f32", [254, 127], "got a value beyond f32 at element 1, [0, 1];"],
    ["bf16", [254, 127], "got a value beyond bf16 at element 1, [0, 1];"],
    ["f16", [127, 143], "got a value beyond f16 at element 32, [1, 0];"],
    ["f16", [127, 142], undefined],
    ["f32", [252, 127], undefined],
  ])("%s, scales %j", async (dtype, scales, message) => {
    // 1, and in the first block 4 at element 1.
    const codes = [0x62, ...ONES.slice(1)];
    const request = { operation: "dequantize", options: { dtype } } as const;
    const said = await heard(packed(codes, scales), request);
    if (message === undefined) expect(said).toBe(undefined);
    else expect(said).toContain(`tensor "w", ${message}`);
  });

  test("f32's largest is beyond bf16", async () => {
    const codes = {
      ...u8("w", [2, 32], Array(64).fill(0x7e)),
      dtype: "F8_E4M3" as const,
    };
    const scale = f32("w_scale", [], [7.59e35]);
    const request = {
      operation: "dequantize",
      options: { dtype: "bf16" },
    } as const;
    expect(await heard(fileOf([codes, scale]), request)).toContain(
      "got a value beyond bf16 at element 0, [0, 0];",
    );
    expect(
      await heard(fileOf([codes, scale]), { operation: "dequantize" }),
    ).toBe(undefined);
  });

  test("padding that is cut off is not looked at", async () => {
    const metadata = {
      "mxfp4.version": "1",
      "mxfp4.layout": "gpt-oss",
      "mxfp4.rounding": "nearest-even",
      "mxfp4.scale": "even",
      "mxfp4.prescale": "1",
      "mxfp4.hadamard": "0",
      "mxfp4.seed": "0",
      "mxfp4.tensor.w":
        '{"dtype":"F32","shape":[2,5],"position":0,"padded":32}',
    };
    const codes = [...Array(16).fill(0x22), ...Array(16).fill(0x22)];
    codes[9] = 0x77; // 6, in the padding
    const tensors = [
      u8("w_blocks", [2, 1, 16], codes),
      u8("w_scales", [2, 1], [253, 127]),
    ];
    const file = fileOf(tensors, metadata);
    expect(await heard(file, { operation: "dequantize" })).toBe(undefined);
  });
});

describe("repack", () => {
  const pair = fileOf([
    u8("a.weight_blocks", [2, 2, 16], Array(64).fill(0x22)),
    u8("a.weight_scales", [2, 2], [127, 127, 255, 127]),
  ]);
  const said =
    'tensor "a.weight", got NaN, scale byte 255, at element 64, [1, 0];';

  test.each(["compressed-tensors", "quark", "mlx", "ggml"])(
    "to %s",
    async (to) => {
      const request = { operation: "repack", options: { to } } as const;
      expect(await heard(pair, request)).toContain(said);
      expect(await keptOf(pair, request)).toEqual({
        "a.weight": { values: 1, first: 64 },
      });
    },
  );

  test("from ggml's blocks", async () => {
    const block = (scale: number) => [scale, ...Array(16).fill(0x22)];
    const codes = [block(127), block(127), block(255), block(127)].flat();
    const file = fileOf([u8("a.weight_ggml", [2, 2, 17], codes)]);
    const request = {
      operation: "repack",
      options: { to: "gpt-oss" },
    } as const;
    expect(await heard(file, request)).toContain(said);
  });
});

test("hadamard: what is not finite, and sums that become so", async () => {
  const options = { hadamard: 32 };
  const nan = fileOf([floats("F32", { 40: NaN }, [2, 32])]);
  expect(await heard(nan, { operation: "hadamard", options })).toContain(
    "got NaN at element 40, [1, 8];",
  );
  const large = fileOf([floats("F32", fill(32, 64, 3e38), [2, 32])]);
  expect(await heard(large, { operation: "hadamard", options })).toMatch(
    /got (NaN|a value beyond f32) at element (3[2-9]|[45]\d|6[0-3]), /,
  );
});

function fill(from: number, to: number, value: number): Record<number, number> {
  return Object.fromEntries(
    Array.from({ length: to - from }, (_, i) => [from + i, value]),
  );
}
