/** MXFP8 by the same routes, jobs and analysis as MXFP4; what it is, by its slow twin. */
import "../support/kernels.ts";
import { describe, expect, test } from "vitest";
import type { Analysis } from "../../src/api/tensors.ts";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import * as twin from "../reference/mxfp8.ts";
import { rotate, signs } from "../support/mxfp4.ts";
import { createJob, finish, putFile } from "../support/jobs.ts";
import { normals } from "../support/random.ts";
import { bytesOf, problemOf, send } from "./support.ts";
import {
  f32,
  fileInOrder,
  fileOf,
  floats,
  type Input,
  named,
  post,
  read,
  u8,
} from "./tensor-support.ts";

const TYPES = ["e4m3", "e5m2"] as const;
const DTYPES = { e4m3: "F8_E4M3", e5m2: "F8_E5M2" } as const;

const WEIGHTS = normals(6 * 64, 1);
const BIAS = normals(5, 2);
const FILE = fileOf([
  f32("a.weight", [2, 3, 64], WEIGHTS),
  u8("ids", [3], [1, 2, 3]),
  f32("b.bias", [5], BIAS),
]);

describe.each(TYPES)("format=mxfp8-%s", (type) => {
  const format = `format=mxfp8-${type}`;

  test.each([
    ["", { ties: "even" }, "floor"],
    ["&rounding=nearest-away&scale=rceil", { ties: "away" }, "rceil"],
    ["&scale=ceil", { ties: "even" }, "ceil"],
    ["&scale=even&min-scale=1", { ties: "even" }, "even"],
    [
      "&rounding=stochastic&seed=7",
      { key: noiseKey(7, PURPOSE.fileRounding, 0), firstPair: 0 },
      "rceil",
    ],
  ] as const)(
    "quantizes as the twin does: %s",
    async (query, rounding, rule) => {
      const file = await read(
        await post(`/v1/quantize?${format}&include=*.weight${query}`, FILE),
      );
      const least = query.includes("min-scale") ? 1 : 0;
      const expected = twin.quantizeMxfp8(WEIGHTS, type, rounding, rule, least);
      expect(named(file, "a.weight")).toEqual({
        name: "a.weight",
        dtype: DTYPES[type],
        shape: [2, 3, 64],
        bytes: expected.elements,
      });
      expect(named(file, "a.weight_scale")).toEqual({
        name: "a.weight_scale",
        dtype: "U8",
        shape: [2, 3, 2],
        bytes: expected.scales,
      });
      expect([...named(file, "ids").bytes]).toEqual([1, 2, 3]);
      expect(floats(file, "b.bias")).toEqual([...BIAS]);
      expect(file.metadata.get("mxfp4.format")).toBe(`mxfp8-${type}`);
      expect(file.metadata.get("mxfp4.layout")).toBe("compressed-tensors");
    },
  );

  test("comes back as the values of its codes, padding cut off", async () => {
    const body = fileOf([
      f32("whole", [6, 64], WEIGHTS),
      f32("padded", [2, 33], normals(66, 3)),
    ]);
    const packed = await bytesOf(await post(`/v1/quantize?${format}`, body));
    const file = await read(await post("/v1/dequantize", packed));
    const rows = [0, 33].flatMap((start) => [
      ...normals(66, 3).slice(start, start + 33),
      ...new Float32Array(31),
    ]);
    for (const [name, shape, values] of [
      ["whole", [6, 64], WEIGHTS],
      ["padded", [2, 33], Float32Array.from(rows)],
    ] as const) {
      const ties = { ties: "even" } as const;
      const codes = twin.quantizeMxfp8(values, type, ties, "floor");
      const decoded = twin.dequantizeMxfp8(codes, type);
      const k = shape[1];
      const expected = [...decoded].filter(
        (_, i) => i % (Math.ceil(k / 32) * 32) < k,
      );
      expect(named(file, name)).toMatchObject({ dtype: "F32", shape });
      expect(floats(file, name)).toEqual(expected);
    }
    expect(file.metadata.size).toBe(0);
  });

  test("a rotation is undone", async () => {
    const query = `${format}&hadamard=64&seed=9`;
    const body = fileOf([f32("x", [6, 64], WEIGHTS)]);
    const packed = await bytesOf(await post(`/v1/quantize?${query}`, body));
    const back = floats(await read(await post("/v1/dequantize", packed)), "x");
    const vector = signs(64, noiseKey(9, PURPOSE.fileSigns));
    const ties = { ties: "even" } as const;
    const codes = twin.quantizeMxfp8(
      rotate(WEIGHTS, vector),
      type,
      ties,
      "even",
    );
    const decoded = twin.dequantizeMxfp8(codes, type);
    expect(back).toEqual([...rotate(decoded, vector, "inverse")]);
  });

  test("a file of others is found by its types, whatever the order and the scales' dtype", async () => {
    const elements = Uint8Array.from({ length: 256 }, (_, i) => i);
    const scales = Uint8Array.of(120, 127, 130, 0, 254, 1, 255, 100);
    const parts: Input[] = [
      { name: "w", dtype: DTYPES[type], shape: [4, 64], bytes: elements },
      { name: "w_scale", dtype: "F8_E8M0", shape: [4, 2], bytes: scales },
    ];
    const values = twin.dequantizeMxfp8({ elements, scales }, type);
    for (const order of [parts, parts.toReversed()]) {
      const answer = await post(
        "/v1/dequantize?nonfinite=keep",
        fileInOrder(order),
      );
      const file = await read(answer);
      expect(file.tensors.map(({ name }) => name)).toEqual(["w"]);
      expect(floats(file, "w")).toEqual([...values]);
    }
  });

  test("a job has the bytes of the route, and back", async () => {
    const packed = await bytesOf(await post(`/v1/quantize?${format}`, FILE));
    await putFile(`f8-${type}`, FILE);
    const options = { format: `mxfp8-${type}` } as const;
    const forth = await createJob({
      operation: "quantize",
      source: `f8-${type}`,
      result: `f8-${type}-packed`,
      options,
    });
    const { job } = await forth.json<{ job: string }>();
    expect((await finish(job)).state).toBe("finished");
    const stored = await bytesOf(await send(`/v1/files/f8-${type}-packed`));
    expect(stored).toEqual(packed);
    const back = await createJob({
      operation: "dequantize",
      source: `f8-${type}-packed`,
      result: `f8-${type}-back`,
    });
    const { job: second } = await back.json<{ job: string }>();
    expect((await finish(second)).state).toBe("finished");
    expect(await bytesOf(await send(`/v1/files/f8-${type}-back`))).toEqual(
      await bytesOf(await post("/v1/dequantize", packed)),
    );
  });

  test("analysis has the figures of its codes", async () => {
    const body = fileOf([f32("x", [6, 64], WEIGHTS)]);
    const compare = `format=mxfp4,${format},${format};hadamard=64`;
    const answer = await post(
      `/v1/analyze?compare=${encodeURIComponent(compare)}`,
      body,
    );
    const { tensors } = await answer.json<Analysis>();
    const [mxfp4, mxfp8] = tensors[0]!.schemes;
    const ties = { ties: "even" } as const;
    const codes = twin.quantizeMxfp8(WEIGHTS, type, ties, "floor");
    const decoded = twin.dequantizeMxfp8(codes, type);
    let [signal, noise] = [0, 0];
    WEIGHTS.forEach((x, i) => {
      signal += x * x;
      noise += (x - decoded[i]!) ** 2;
    });
    expect(mxfp8!.sqnrDb).toBeCloseTo(10 * Math.log10(signal / noise), 9);
    expect(mxfp8!.sqnrDb! - mxfp4!.sqnrDb!).toBeGreaterThan(6);
  });
});

test("FP8 with one scale for all is not taken for MXFP8, and a shape that does not fit is refused", async () => {
  const f8 = (name: string, shape: number[]): Input => ({
    name,
    dtype: "F8_E4M3",
    shape,
    bytes: new Uint8Array(shape.reduce((a, b) => a * b)).fill(0x38),
  });
  const tensor = [f32("tensor_scale", [1], [3]), f8("tensor", [2, 64])];
  const blocks = [
    u8("w_blocks", [1, 16], Array(16).fill(1)),
    u8("w_scales", [1], [127]),
  ];
  const file = await read(
    await post("/v1/dequantize", fileInOrder([...blocks, ...tensor])),
  );
  expect(file.tensors.map(({ name, dtype }) => `${name} ${dtype}`)).toEqual([
    "w F32",
    "tensor F32",
  ]);
  expect(floats(file, "tensor")).toEqual(Array(128).fill(3));
  const short = [f8("short", [2, 64]), u8("short_scale", [2, 1], [127, 127])];
  const problem = await problemOf(
    await post("/v1/dequantize", fileInOrder([...blocks, ...short])),
    422,
    "unsupported_dtype",
  );
  expect(problem.detail).toContain('"short_scale", the scale of "short"');
});

test.each([
  ["prescale=0.75", "Expected prescale=1 for mxfp8-e4m3, got 0.75"],
  ["rounding=nearest-zero", "nearest-zero"],
  [
    "layout=gpt-oss",
    'Expected layout compressed-tensors or mlx for mxfp8-e4m3, got "gpt-oss"',
  ],
  [
    "layout=ggml",
    'Expected layout compressed-tensors or mlx for mxfp8-e4m3, got "ggml"',
  ],
  ["preset=gpt-oss", "Expected layout compressed-tensors"],
])("refused of mxfp8-e4m3: %s", async (query, detail) => {
  const answer = await post(`/v1/quantize?format=mxfp8-e4m3&${query}`, FILE);
  const problem = await problemOf(answer, 422, "invalid_option");
  expect(problem.detail).toContain(detail);
});

test("analysis refuses what quantizing would", async () => {
  const compare = encodeURIComponent("format=mxfp8-e5m2;prescale=0.75");
  const answer = await post(`/v1/analyze?compare=${compare}`, FILE);
  const problem = await problemOf(answer, 422, "invalid_option");
  expect(problem.detail).toContain("Expected prescale=1");
});
