import { describe, expect, test } from "vitest";
import {
  readSafetensors,
  type SafetensorsFile,
} from "../../src/formats/containers/safetensors.ts";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import { decodeElement, decodeScale } from "../reference/mxfp4.ts";
import { quantize, rotate, signs } from "../support/mxfp4.ts";
import { arena } from "../support/kernels.ts";
import { normals, uniform } from "../support/random.ts";
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

/** The gpt-oss layout, decoded by its definition: even elements in low nibbles, scales × 2^(e − 127). */
function decode(file: SafetensorsFile, name: string): number[] {
  const blocks = named(file, `${name}_blocks`).bytes;
  const scales = named(file, `${name}_scales`).bytes;
  return Array.from({ length: blocks.length * 2 }, (_, i) => {
    const byte = blocks[i >> 1]!;
    const code = i % 2 === 0 ? byte & 15 : byte >> 4;
    return decodeElement(code) * decodeScale(scales[i >> 5]!);
  });
}

/** Ties, corners and clipping in a block whose largest magnitude is in [4, 8), so its scale is 1. */
const CORNERS = [
  0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 6, 7.99, 0.2, 0, 1e-30, 0.26, 2.51, 4.99,
  5.01,
];
const BLOCK = CORNERS.flatMap((value) => [value, -value]);

describe("POST /v1/quantize", () => {
  test("values become these nibbles and scales, as gpt-oss files have them", async () => {
    const ties = {
      "nearest-even": [0, 2, 2, 4, 4, 6, 6, 7, 7, 0, 0, 0, 1, 5, 6, 7],
      "nearest-away": [1, 2, 3, 4, 5, 6, 7, 7, 7, 0, 0, 0, 1, 5, 6, 7],
    };
    for (const [rounding, codes] of Object.entries(ties)) {
      const body = fileOf([f32("w", [1, 32], BLOCK)]);
      const file = await read(
        await post(`/v1/quantize?rounding=${rounding}&scale=floor`, body),
      );
      expect(named(file, "w_scales")).toMatchObject({
        dtype: "U8",
        shape: [1, 1],
        bytes: Uint8Array.of(127),
      });
      expect(named(file, "w_blocks")).toMatchObject({
        dtype: "U8",
        shape: [1, 1, 16],
      });
      // +value in the low nibble, −value in the high one; a sign is kept on zero.
      const expected = codes.map((code) => code | ((code | 8) << 4));
      expect([...named(file, "w_blocks").bytes]).toEqual(expected);
    }
  });

  test("every code at every position of a block is what its value becomes", async () => {
    const rows = Array.from({ length: 32 }, (_, position) =>
      Array.from({ length: 32 }, (_, i) =>
        i === (position + 5) % 32 ? 6 : decodeElement((i * 7 + position) % 16),
      ),
    );
    const file = await read(
      await post("/v1/quantize", fileOf([f32("w", [32, 32], rows.flat())])),
    );
    expect(decode(file, "w")).toEqual(rows.flat());
  });

  test.each([
    // 4 is the fraction 2/3 of 6, so its power of two is the same by all but ceil.
    ["", [127, 128, 127, 128, 147, 147, 0, 0]],
    ["?scale=even", [127, 128, 127, 128, 147, 147, 0, 0]],
    ["?scale=floor", [127, 127, 127, 128, 147, 147, 0, 0]],
    ["?scale=rceil", [127, 128, 127, 128, 147, 148, 0, 0]],
    ["?scale=ceil", [128, 128, 127, 128, 148, 148, 0, 0]],
    ["?scale=mse", [127, 128, 127, 128, 147, 148, 0, 0]],
  ])("scales of '%s' are the rule's", async (query, bytes) => {
    const tops = [6, 7.99, 4, 8, 6 * 2 ** 20, 6.01 * 2 ** 20, 2 ** -126, 0];
    const values = tops.flatMap((top) =>
      Array.from({ length: 32 }, (_, i) => (i === 31 ? -top : 0)),
    );
    const body = fileOf([f32("w", [tops.length, 32], values)]);
    const file = await read(await post(`/v1/quantize${query}`, body));
    expect([...named(file, "w_scales").bytes]).toEqual(bytes);
  });

  test("a NaN or an infinity gives its block, and no other, scale 255", async () => {
    const values = new Float32Array(96).fill(1);
    values[40] = NaN;
    values[70] = -Infinity;
    const keep = "nonfinite=keep";
    const file = await read(
      await post(`/v1/quantize?${keep}`, fileOf([f32("w", [96], values)])),
    );
    expect([...named(file, "w_scales").bytes]).toEqual([125, 255, 255]);
    const back = await read(
      await post(`/v1/dequantize?${keep}`, fileOf(file.tensors as Input[])),
    );
    expect(floats(back, "w")).toEqual([
      ...Array(32).fill(1),
      ...Array(64).fill(NaN),
    ]);
  });

  test("a raw body of each dtype is the tensor x", async () => {
    const codes = Array.from({ length: 64 }, (_, i) => decodeElement(i % 16));
    const bf16 = Uint16Array.from(
      codes,
      (value) => new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16,
    );
    const bodies = {
      f32: new Float32Array(codes),
      f64: new Float64Array(codes),
      f16: new Float16Array(codes),
      bf16,
    };
    for (const [dtype, values] of Object.entries(bodies)) {
      const response = await post(
        `/v1/quantize?dtype=${dtype}&shape=2,32`,
        new Uint8Array(values.buffer),
      );
      expect(response.headers.get("Content-Type")).toBe(
        "application/octet-stream",
      );
      expect(response.headers.get("X-Content-Type-Options")).toBe("nosniff");
      const file = await read(response);
      expect(named(file, "x_blocks").shape).toEqual([2, 1, 16]);
      expect(decode(file, "x")).toEqual(codes);
      const record = JSON.parse(file.metadata.get("mxfp4.tensor.x")!);
      expect(record).toEqual({
        dtype: dtype.toUpperCase(),
        shape: [2, 32],
        position: 0,
      });
    }
  });

  test("f16 and f64 tensors are read wherever they stand in a file", async () => {
    const codes = Array.from({ length: 64 }, (_, i) =>
      decodeElement((i * 11) % 16),
    );
    const wide = new Uint8Array(new Float64Array(codes).buffer);
    const narrow = new Uint8Array(new Float16Array(codes).buffer);
    const file = await read(
      await post(
        "/v1/quantize",
        fileOf([
          { name: "a", dtype: "F64", shape: [64], bytes: wide },
          { name: "b", dtype: "F64", shape: [64], bytes: wide },
          { name: "c", dtype: "F16", shape: [64], bytes: narrow },
          { name: "d", dtype: "F16", shape: [64], bytes: narrow },
        ]),
      ),
    );
    for (const name of ["a", "b", "c", "d"])
      expect(decode(file, name)).toEqual(codes);
  });

  test("tensors of every rank get their shapes; none of zero elements is too small", async () => {
    const file = await read(
      await post(
        "/v1/quantize",
        fileOf([
          f32("a", [32], normals(32, 1)),
          f32("b", [2, 3, 64], normals(384, 2)),
          f32("c", [0, 32], []),
          f32("d", [3, 0], []),
        ]),
      ),
    );
    expect(file.tensors.map(({ name, shape }) => [name, shape])).toEqual([
      ["a_blocks", [1, 16]],
      ["a_scales", [1]],
      ["b_blocks", [2, 3, 2, 16]],
      ["b_scales", [2, 3, 2]],
      ["c_blocks", [0, 1, 16]],
      ["c_scales", [0, 1]],
      ["d_blocks", [3, 0, 16]],
      ["d_scales", [3, 0]],
    ]);
  });

  test("integers, scalars and unselected tensors pass through byte for byte, metadata is kept", async () => {
    const inputs = [
      f32("h.0.w", [32], normals(32, 3)),
      f32("h.1.w", [32], normals(32, 4)),
      f32("h.1.bias", [5], normals(5, 5)),
      f32("ln", [7], normals(7, 6)),
      f32("scalar", [], [3]),
      u8("ids", [32], Array(32).keys().toArray()),
    ];
    const query = "?include=h.%3F.*&include=scal*,ids&exclude=*.bias";
    const file = await read(
      await post(`/v1/quantize${query}`, fileOf(inputs, { author: "us" })),
    );
    // A scale or two leave the next f32 at an odd position: see the fillers' own test.
    expect(
      file.tensors
        .map(({ name }) => name)
        .filter((name) => !name.startsWith("mxfp4.filler."))
        .sort(),
    ).toEqual(
      [
        "h.0.w_blocks",
        "h.0.w_scales",
        "h.1.w_blocks",
        "h.1.w_scales",
        "h.1.bias",
        "ids",
        "ln",
        "scalar",
      ].sort(),
    );
    for (const input of inputs.slice(2))
      expect(named(file, input.name)).toEqual(input);
    expect(file.metadata.get("author")).toBe("us");
    expect(file.metadata.get("mxfp4.include")).toBe('["h.?.*","scal*","ids"]');
    expect(file.metadata.get("mxfp4.exclude")).toBe('["*.bias"]');
  });

  test("patterns match whole names, stars any part of them", async () => {
    const names = ["", "a", "ab", "abc", "aXbXc", "a.b.c", "*"];
    const cases: [string, string[]][] = [
      ["*", names],
      ["a", ["a"]],
      ["a*", ["a", "ab", "abc", "aXbXc", "a.b.c"]],
      ["*c", ["abc", "aXbXc", "a.b.c"]],
      ["a?b?c", ["aXbXc", "a.b.c"]],
      ["a*b*c", ["abc", "aXbXc", "a.b.c"]],
      ["?", ["a", "*"]],
      ["**a**", ["a", "ab", "abc", "aXbXc", "a.b.c"]],
    ];
    const body = fileOf(names.map((name) => f32(name, [32], normals(32, 1))));
    for (const [pattern, expected] of cases) {
      const file = await read(
        await post(`/v1/quantize?include=${encodeURIComponent(pattern)}`, body),
      );
      const got = names.filter((name) =>
        file.tensors.some((t) => t.name === `${name}_blocks`),
      );
      expect(got, pattern).toEqual(expected);
    }
    for (const pattern of [".*", "a.b"])
      await problemOf(
        await post(`/v1/quantize?include=${pattern}`, body),
        422,
        "invalid_option",
      );
  });

  test("commas separate patterns as on the command line", async () => {
    const names = ["a", "b", "c"];
    const body = fileOf(names.map((name) => f32(name, [32], normals(32, 1))));
    const answer = async (query: string) =>
      bytesOf(await post(`/v1/quantize?${query}`, body));
    expect(await answer("include=a,b")).toEqual(
      await answer("include=a&include=b"),
    );
    await problemOf(
      await post("/v1/quantize?include=a,", body),
      422,
      "invalid_option",
    );
  });

  test("the metadata says every choice", async () => {
    const query =
      "rounding=stochastic&scale=floor&prescale=0.75&hadamard=64&seed=9007199254740991&layout=gpt-oss";
    const file = await read(
      await post(
        `/v1/quantize?${query}`,
        fileOf([f32("w", [64], normals(64, 1))]),
      ),
    );
    expect(Object.fromEntries(file.metadata)).toEqual({
      "mxfp4.version": "1",
      "mxfp4.layout": "gpt-oss",
      "mxfp4.rounding": "stochastic",
      "mxfp4.scale": "floor",
      "mxfp4.prescale": "0.75",
      "mxfp4.hadamard": "64",
      "mxfp4.seed": "9007199254740991",
      "mxfp4.plain": "false",
      "mxfp4.plain_reason":
        "values were multiplied by 3/4: multiply by 4/3; segments of 64 were rotated: apply the inverse RHT of the seed",
      "mxfp4.unbiased": "true",
      "mxfp4.tensor.w": '{"dtype":"F32","shape":[64],"position":0}',
    });
  });

  test.each([
    ["", "even", "true", "false"],
    ["?scale=mse", "mse", "true", "false"],
    ["?rounding=stochastic", "rceil", "true", "true"],
    ["?rounding=stochastic&scale=floor", "floor", "true", "false"],
    [
      "?rounding=stochastic&scale=floor&prescale=0.75",
      "floor",
      "false",
      "true",
    ],
    ["?prescale=0.75", "even", "false", "false"],
    ["?hadamard=16", "even", "false", "false"],
  ])(
    "%s: scale %s, plain %s, unbiased %s",
    async (query, scale, plain, unbiased) => {
      const { metadata } = await read(
        await post(
          `/v1/quantize${query}`,
          fileOf([f32("w", [32], normals(32, 1))]),
        ),
      );
      expect(metadata.get("mxfp4.scale")).toBe(scale);
      expect(metadata.get("mxfp4.plain")).toBe(plain);
      expect(metadata.get("mxfp4.unbiased")).toBe(unbiased);
      expect(metadata.has("mxfp4.plain_reason")).toBe(plain === "false");
      expect(metadata.has("mxfp4.unbiased_reason")).toBe(unbiased === "false");
    },
  );

  test("the same request gives the same bytes; another seed, or a tensor's other place, others", async () => {
    const values = normals(256, 7);
    const body = fileOf([f32("a", [256], values), f32("b", [256], values)]);
    const send = async (seed: number) =>
      bytesOf(
        await post(`/v1/quantize?rounding=stochastic&seed=${seed}`, body),
      );
    const first = await send(5);
    expect(await send(5)).toEqual(first);
    const [one, other] = [
      readSafetensors(first),
      readSafetensors(await send(6)),
    ];
    expect(named(other, "a_blocks").bytes).not.toEqual(
      named(one, "a_blocks").bytes,
    );
    expect(named(other, "a_scales").bytes).toEqual(
      named(one, "a_scales").bytes,
    );
    expect(named(one, "b_blocks").bytes).not.toEqual(
      named(one, "a_blocks").bytes,
    );
  });

  test("tensors keep their order; noise goes by sorted names", async () => {
    const [a, b, n] = [
      f32("a", [64], normals(64, 1)),
      f32("Z", [64], normals(64, 2)),
      u8("0", [1], [1]),
    ];
    const orders = [
      [a, b, n],
      [b, n, a],
    ];
    const [one, other] = await Promise.all(
      orders.map(async (order) =>
        read(
          await post(
            "/v1/quantize?rounding=stochastic&seed=3",
            fileInOrder(order),
          ),
        ),
      ),
    );
    expect(one!.tensors.map(({ name }) => name)).toEqual([
      "a_blocks",
      "a_scales",
      "Z_blocks",
      "Z_scales",
      "0",
    ]);
    expect(other!.tensors.map(({ name }) => name)).toEqual([
      "Z_blocks",
      "Z_scales",
      "0",
      "a_blocks",
      "a_scales",
    ]);
    for (const { name } of one!.tensors)
      expect(named(other!, name)).toEqual(named(one!, name));
    // Behind "0", which is no float: noise goes by all names.
    const key = noiseKey(3, PURPOSE.fileRounding, 1);
    const expected = quantize(normals(64, 2), {
      rounding: { mode: "stochastic", key, firstElement: 0 },
      scale: "rceil",
      prescale: 1,
    });
    expect(named(one!, "Z_blocks").bytes).toEqual(expected.elements);
  });

  test("a tensor of several chunks has the bytes of one kernel call over all of it", async () => {
    const length = 2 ** 20 + 256 * 5;
    const values = normals(length, 11);
    const query =
      "rounding=stochastic&scale=floor&prescale=0.75&hadamard=256&seed=12";
    const body = new Uint8Array(values.buffer);
    const file = await read(
      await post(`/v1/quantize?${query}&dtype=f32&shape=${length}`, body),
    );
    const rotated = rotate(values, signs(256, noiseKey(12, PURPOSE.fileSigns)));
    const whole = quantize(rotated, {
      rounding: {
        mode: "stochastic",
        key: noiseKey(12, PURPOSE.fileRounding, 0),
        firstElement: 0,
      },
      scale: "floor",
      prescale: 0.75,
    });
    expect(named(file, "x_scales").bytes).toEqual(whole.scales);
    expect(named(file, "x_blocks").bytes).toEqual(whole.elements);
  });

  test("the data starts at a multiple of 8 bytes", async () => {
    const response = await post(
      "/v1/quantize",
      fileOf([f32("w", [32], normals(32, 1)), f32("s", [], [1])]),
    );
    const bytes = await bytesOf(response);
    expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(
      0,
    );
  });
});

describe("POST /v1/quantize refuses", () => {
  const body = fileOf([f32("w", [64], normals(64, 1))]);

  test.each([
    [
      "rounding=up",
      "nearest-even, nearest-away, nearest-zero, stochastic",
      '"up"',
    ],
    ["rounding=", "nearest-even", '""'],
    ["scale=up", "floor, rceil, ceil, even, mse", '"up"'],
    [
      "scale=mse&rounding=stochastic",
      "another scale rule, such as scale=rceil, for rounding=stochastic",
      "mse",
    ],
    ["min-scale=2", "0, 1", '"2"'],
    ["prescale=0.5", "1, 0.75", '"0.5"'],
    ["prescale=1.0", "1, 0.75", '"1.0"'],
    ["hadamard=8", "0, 16, 32, 64, 128, 256", '"8"'],
    ["layout=nvfp4", "gpt-oss, ggml, compressed-tensors", '"nvfp4"'],
    [
      "output-type=q8_0",
      "no `outputType` for a file that is not a GGUF",
      '"q8_0"',
    ],
    ["tensor-type=w=f16", "no `tensorType` for a file", '"w=f16"'],
    ["seed=-1", "whole number", '"-1"'],
    ["seed=1.5", "whole number", '"1.5"'],
    ["seed=9007199254740992", "2^53 − 1", '"9007199254740992"'],
    ["seed=0x10", "whole number", '"0x10"'],
    ["dtype=f32", "both `dtype` and `shape`", "got one"],
    ["shape=64", "both `dtype` and `shape`", "got one"],
    ["dtype=u8&shape=64", "f32, f16, bf16, f64", '"u8"'],
    ["dtype=f32&shape=", "sizes", '""'],
    ["dtype=f32&shape=2,,3", "sizes", '"2,,3"'],
    ["dtype=f32&shape=-1", "sizes", '"-1"'],
    ["Rounding=stochastic", "`rounding`", "`Rounding`"],
    ["seed=1&seed=1", "`seed` once", "2 times"],
    ["include=", "pattern of 1 to 256", "got 0"],
    [`exclude=${"a".repeat(257)}`, "pattern of 1 to 256", "got 257"],
    [Array(33).fill("include=a").join("&"), "at most 32 times", "33"],
  ])("?%s", async (query, expected, got) => {
    const { detail } = await problemOf(
      await post(`/v1/quantize?${query}`, body),
      422,
      "invalid_option",
    );
    expect(detail).toContain(expected);
    expect(detail).toContain(got);
  });

  test("another content type", async () => {
    for (const type of [
      "application/json",
      "application/x-www-form-urlencoded",
      "text/plain",
    ]) {
      const problem = await problemOf(
        await post("/v1/quantize", body, { "Content-Type": type }),
        415,
        "unsupported_media_type",
      );
      expect(problem.detail).toContain(type);
      expect(problem.detail.includes("curl")).toBe(type.includes("form"));
    }
    const raw = await post("/v1/quantize?dtype=f32&shape=64", body, {
      "Content-Type": "application/vnd.safetensors",
    });
    await problemOf(raw, 415, "unsupported_media_type");
  });

  test("no content type is refused only for what it holds", async () => {
    const response = await send("/v1/quantize", {
      method: "POST",
      body,
      headers: { "Content-Length": `${body.length}` },
    });
    expect((await read(response)).tensors.length).toBe(2);
    const parameter = await post("/v1/quantize", body, {
      "Content-Type": "Application/vnd.safetensors; v=1",
    });
    expect((await read(parameter)).tensors.length).toBe(2);
  });

  test("an encoding that it does not speak", async () => {
    for (const encoding of ["gzip", "br", "identity, gzip"]) {
      const response = await post("/v1/quantize", body, {
        "Content-Encoding": encoding,
      });
      await problemOf(response, 415, "unsupported_media_type");
    }
    await read(
      await post("/v1/quantize", body, { "Content-Encoding": "identity" }),
    );
  });

  test("a body without Content-Length, or with one that is no number", async () => {
    const bare = { method: "POST", body };
    for (const path of [
      "quantize",
      "dequantize",
      "analyze",
      "hadamard",
      "gemm",
    ])
      await problemOf(await send(`/v1/${path}`, bare), 411, "length_required");
    await problemOf(
      await post("/v1/quantize", body, { "Content-Length": "1e3" }),
      400,
      "malformed_body",
    );
  });

  test("what is no safetensors", async () => {
    for (const bytes of [
      new Uint8Array(0),
      new Uint8Array(64),
      body.subarray(0, body.length - 1),
    ]) {
      await problemOf(await post("/v1/quantize", bytes), 400, "malformed_body");
    }
  });

  test("a raw body of another size", async () => {
    const response = await post(
      "/v1/quantize?dtype=f32&shape=2,32",
      new Uint8Array(255),
    );
    const problem = await problemOf(response, 422, "shape_mismatch");
    expect(problem.detail).toBe("Expected 256 bytes for F32 [2, 32], got 255");
    const huge = await post(
      "/v1/quantize?dtype=f32&shape=999999999999999,999999999999999",
      new Uint8Array(4),
    );
    await problemOf(huge, 422, "shape_mismatch");
  });

  test("a float dtype that it cannot read, unless it is excluded", async () => {
    const f8: Input = {
      name: "f8",
      dtype: "F8_E4M3FNUZ",
      shape: [32],
      bytes: new Uint8Array(32),
    };
    const file = fileOf([f8]);
    const problem = await problemOf(
      await post("/v1/quantize", file),
      422,
      "unsupported_dtype",
    );
    expect(problem.detail).toContain('"f8" of F8_E4M3FNUZ');
    await problemOf(
      await post("/v1/quantize?exclude=f*", file),
      422,
      "nothing_to_convert",
    );
    const two = fileOf([f32("w", [32], normals(32, 1)), f8]);
    expect(
      named(await read(await post("/v1/quantize?exclude=f*", two)), "f8"),
    ).toEqual(f8);
  });

  test("a name that another tensor already has", async () => {
    const taken = fileOf([
      f32("w", [32], normals(32, 1)),
      u8("w_scales", [1], [1]),
    ]);
    const problem = await problemOf(
      await post("/v1/quantize", taken),
      422,
      "name_collision",
    );
    expect(problem.detail).toContain('"w_scales"');
  });

  test("a file that is MXFP4 already", async () => {
    const once = await bytesOf(await post("/v1/quantize", body));
    const again = await post("/v1/quantize", once as Uint8Array<ArrayBuffer>);
    const problem = await problemOf(again, 422, "name_collision");
    expect(problem.detail).toContain("dequantize it first");
  });
});

describe("POST /v1/dequantize", () => {
  /** All 16 codes in both nibbles, at scales 2^0, 2^−127, 2^127, 2^−1 and NaN. */
  const SCALES = [127, 0, 254, 126, 255];
  const BLOCKS = SCALES.flatMap((_, block) =>
    Array.from(
      { length: 16 },
      (_, i) => ((i + block) % 16) | (((i * 3 + 1) % 16) << 4),
    ),
  );
  const PLAIN = fileOf([
    u8("e.w_blocks", [1, 5, 16], BLOCKS),
    u8("e.w_scales", [1, 5], SCALES),
    f32("e.bias", [3], [1, 2, 3]),
  ]);

  test("a checkpoint by others decodes as the table of values says", async () => {
    const file = await read(await post("/v1/dequantize?nonfinite=keep", PLAIN));
    const expected = SCALES.flatMap((scale, block) =>
      BLOCKS.slice(block * 16, block * 16 + 16).flatMap((byte) =>
        [byte & 15, byte >> 4].map((code) =>
          Math.fround(decodeElement(code) * decodeScale(scale)),
        ),
      ),
    );
    expect(named(file, "e.w")).toMatchObject({ dtype: "F32", shape: [1, 160] });
    expect(floats(file, "e.w")).toEqual(expected);
    expect(floats(file, "e.bias")).toEqual([1, 2, 3]);
    expect(file.tensors.length).toBe(2);
  });

  test("OpenAI's names are known too", async () => {
    const body = fileOf([
      u8("mlp.blocks", [1, 16], Array(16).fill(0x21)),
      u8("mlp.scales", [1], [128]),
    ]);
    expect(
      floats(await read(await post("/v1/dequantize", body)), "mlp"),
    ).toEqual(Array(16).fill([1, 2]).flat());
  });

  test("a lone tensor of such a name passes through", async () => {
    const lone = [
      u8("a_blocks", [16], Array(16).fill(1)),
      u8("b_scales", [1], [1]),
    ];
    await problemOf(
      await post("/v1/dequantize", fileOf(lone)),
      422,
      "nothing_to_convert",
    );
    const pair = [
      u8("w_blocks", [1, 16], Array(16).fill(1)),
      u8("w_scales", [1], [127]),
    ];
    const file = await read(
      await post("/v1/dequantize", fileOf([...lone, ...pair])),
    );
    for (const tensor of lone) expect(named(file, tensor.name)).toEqual(tensor);
  });

  test("NaN has one bit pattern in each dtype", async () => {
    const bytes = {
      f32: [0, 0, 0xc0, 0x7f],
      bf16: [0xc0, 0x7f],
      f16: [0, 0x7e],
    };
    const body = fileOf([
      u8("w_blocks", [1, 16], Array(16).fill(0xfa)),
      u8("w_scales", [1], [255]),
    ]);
    for (const [dtype, pattern] of Object.entries(bytes)) {
      const file = await read(
        await post(`/v1/dequantize?dtype=${dtype}&nonfinite=keep`, body),
      );
      expect([...named(file, "w").bytes]).toEqual(
        Array(32).fill(pattern).flat(),
      );
    }
  });

  test("a NaN block spreads over its segment, and is still one bit pattern", async () => {
    const values = normals(512, 4);
    values[300] = NaN;
    const body = fileOf([f32("w", [512], values)]);
    const quantized = await bytesOf(
      await post("/v1/quantize?hadamard=256&seed=8&nonfinite=keep", body),
    );
    const file = await read(
      await post(
        "/v1/dequantize?nonfinite=keep",
        quantized as Uint8Array<ArrayBuffer>,
      ),
    );
    const { bytes } = named(file, "w");
    expect(floats(file, "w").slice(0, 256).every(Number.isFinite)).toBe(true);
    expect([...bytes.subarray(1024)]).toEqual(
      Array(256).fill([0, 0, 0xc0, 0x7f]).flat(),
    );
  });

  test("bf16 and f16 hold the values, f16 overflowing and underflowing as IEEE says", async () => {
    for (const dtype of ["bf16", "f16"] as const) {
      const body = fileOf([
        u8("w_blocks", [1, 16], BLOCKS.slice(0, 16)),
        u8("w_scales", [1], [130]),
      ]);
      const file = await read(
        await post(`/v1/dequantize?dtype=${dtype}`, body),
      );
      expect(named(file, "w").dtype).toBe(dtype.toUpperCase());
      const expected = BLOCKS.slice(0, 16).flatMap((byte) =>
        [byte & 15, byte >> 4].map((code) => decodeElement(code) * 8),
      );
      expect(floats(file, "w")).toEqual(expected);
    }
    const extremes = fileOf([
      u8("w_blocks", [2, 16], Array(32).fill(0x91)),
      u8("w_scales", [2], [145, 102]),
    ]);
    const file = await read(
      await post("/v1/dequantize?dtype=f16&nonfinite=keep", extremes),
    );
    // 0.5 · 2^18 is past 65504; 0.5 · 2^−25 is a quarter of the smallest subnormal.
    expect(floats(file, "w")).toEqual([
      ...Array(16).fill([Infinity, -Infinity]).flat(),
      ...Array(16).fill([0, -0]).flat(),
    ]);
  });

  test.each([
    "",
    "rounding=nearest-away&scale=rceil",
    "prescale=0.75",
    "hadamard=16&seed=1",
    "hadamard=256&seed=2",
    "rounding=stochastic&scale=floor&prescale=0.75&hadamard=64&seed=3",
  ])("undoes quantize?%s within the error of the format", async (query) => {
    const values = normals(2 * 2048, 9);
    const quantized = await bytesOf(
      await post(
        `/v1/quantize?${query}`,
        fileOf([f32("w", [2, 2048], values)], { k: "v" }),
      ),
    );
    const file = await read(
      await post("/v1/dequantize", quantized as Uint8Array<ArrayBuffer>),
    );
    expect(named(file, "w").shape).toEqual([2, 2048]);
    expect(Object.fromEntries(file.metadata)).toEqual({ k: "v" });
    const got = floats(file, "w");
    let [error, power] = [0, 0];
    values.forEach((value, i) => {
      error += (got[i]! - value) ** 2;
      power += value ** 2;
    });
    // For normal values nearest has a relative squared error of 0.0132 to 0.0139, stochastic 0.028.
    const most = query.includes("stochastic") ? 0.031 : 0.0155;
    expect(error / power).toBeLessThan(most);
    expect(error / power).toBeGreaterThan(most / 3);
  });

  test("what the format holds comes back exactly, prescaled or not", async () => {
    const values = Array.from({ length: 64 }, (_, i) =>
      decodeElement((i * 5 + 7) % 16),
    );
    const back = async (query: string) => {
      const quantized = await bytesOf(
        await post(`/v1/quantize${query}`, fileOf([f32("w", [64], values)])),
      );
      return floats(
        await read(
          await post("/v1/dequantize", quantized as Uint8Array<ArrayBuffer>),
        ),
        "w",
      );
    };
    expect(await back("")).toEqual(values);
    // 3/4 of a code is on the grid for 2, 4 and 0; times 4/3 in f32 they are themselves again.
    const some = await back("?prescale=0.75");
    values.forEach((value, i) => {
      if ([0, 2, 4].includes(Math.abs(value))) expect(some[i]).toBe(value);
    });
  });

  test("several chunks decode as one", async () => {
    const blocks = 2 ** 15 + 3;
    const next = uniform(3);
    const bytes = Uint8Array.from({ length: blocks * 16 }, () => next() * 256);
    const scales = Uint8Array.from(
      { length: blocks },
      (_, i) => 100 + (i % 50),
    );
    const body = fileOf([
      u8("w_blocks", [blocks, 16], bytes),
      u8("w_scales", [blocks], scales),
    ]);
    const got = floats(await read(await post("/v1/dequantize", body)), "w");
    let differences = 0;
    for (let i = 0; i < blocks * 32; i++) {
      const byte = bytes[i >> 1]!;
      const code = i % 2 === 0 ? byte & 15 : byte >> 4;
      if (
        !Object.is(got[i], decodeElement(code) * decodeScale(scales[i >> 5]!))
      )
        differences++;
    }
    expect(differences).toBe(0);
  });

  test("a body at the bound decodes to eight times its size without holding it", async () => {
    const blocks = Math.floor((16 * 2 ** 20 - 1024) / 17);
    const body = fileOf([
      u8("w_blocks", [blocks, 16], new Uint8Array(blocks * 16).fill(0x22)),
      u8("w_scales", [blocks], new Uint8Array(blocks).fill(127)),
    ]);
    const response = await post("/v1/dequantize", body);
    let bytes = 0;
    for await (const chunk of response.body as ReadableStream<Uint8Array>) {
      bytes += chunk.length;
    }
    expect(bytes).toBeGreaterThan(7.5 * body.length);
    // Its values, all at once, would be 126 MB; the largest test before this needs 10.
    expect(arena.memory.buffer.byteLength).toBeLessThan(16 * 2 ** 20);
  });
});

describe("POST /v1/dequantize refuses", () => {
  const [blocks, scales] = [
    u8("w_blocks", [2, 16], Array(32).fill(1)),
    u8("w_scales", [2], [1, 2]),
  ];

  test("options it does not know", async () => {
    const body = fileOf([blocks, scales]);
    for (const query of [
      "dtype=f64",
      "dtype=F32",
      "shape=4",
      "seed=1",
      "dtype=f32&dtype=f32",
    ]) {
      await problemOf(
        await post(`/v1/dequantize?${query}`, body),
        422,
        "invalid_option",
      );
    }
  });

  test("another content type, size or format", async () => {
    await problemOf(
      await post("/v1/dequantize", "{}", {
        "Content-Type": "application/json",
      }),
      415,
      "unsupported_media_type",
    );
    await problemOf(
      await post("/v1/dequantize", new Uint8Array(9)),
      400,
      "malformed_body",
    );
  });

  test.each<[string, Input[]]>([
    ["too few scales", [blocks, u8("w_scales", [1], [1])]],
    ["scales of the blocks' rank", [blocks, u8("w_scales", [2, 1], [1, 2])]],
    [
      "blocks of 8 bytes",
      [
        u8("w_blocks", [4, 8], Array(32).fill(1)),
        u8("w_scales", [4], [1, 2, 3, 4]),
      ],
    ],
    [
      "a scalar scale",
      [u8("w_blocks", [16], Array(16).fill(1)), u8("w_scales", [], [1])],
    ],
  ])("%s", async (_, tensors) => {
    const problem = await problemOf(
      await post("/v1/dequantize", fileOf(tensors)),
      422,
      "shape_mismatch",
    );
    expect(problem.detail).toContain('"w_blocks"');
  });

  test("a pair that is not u8", async () => {
    const body = fileOf([blocks, f32("w_scales", [2], [1, 2])]);
    const problem = await problemOf(
      await post("/v1/dequantize", body),
      422,
      "unsupported_dtype",
    );
    expect(problem.detail).toContain('"w_scales" to be U8, got F32');
  });

  test("a name that another tensor already has", async () => {
    const body = fileOf([blocks, scales, f32("w", [1], [1])]);
    await problemOf(await post("/v1/dequantize", body), 422, "name_collision");
  });

  const RECORD = {
    "mxfp4.version": "1",
    "mxfp4.layout": "gpt-oss",
    "mxfp4.rounding": "nearest-even",
    "mxfp4.scale": "floor",
    "mxfp4.prescale": "1",
    "mxfp4.hadamard": "0",
    "mxfp4.seed": "0",
    "mxfp4.tensor.w": '{"dtype":"F32","shape":[64],"position":0}',
  };

  test("nothing of a record that is whole", async () => {
    const response = await post(
      "/v1/dequantize",
      fileOf([blocks, scales], RECORD),
    );
    expect((await read(response)).tensors[0]).toMatchObject({
      name: "w",
      shape: [64],
    });
  });

  test.each([
    ["version", "2"],
    ["layout", "nvfp4"],
    ["rounding", "up"],
    ["scale", ""],
    ["prescale", "0.5"],
    ["hadamard", "7"],
    ["seed", "-1"],
    ["seed", "9007199254740992"],
    ["tensor.w", '{"shape":[32]}'],
    ["tensor.w", "no JSON"],
    ["tensor.w", "null"],
    ["tensor.v", '{"shape":[32]}'],
  ])("metadata mxfp4.%s = %s", async (key, value) => {
    const body = fileOf([blocks, scales], {
      ...RECORD,
      [`mxfp4.${key}`]: value,
    });
    const problem = await problemOf(
      await post("/v1/dequantize", body),
      400,
      "malformed_body",
    );
    expect(problem.detail).toContain(`"mxfp4.${key}"`);
  });

  test("a segment that does not divide the record's tensor", async () => {
    const body = fileOf([blocks, scales], {
      ...RECORD,
      "mxfp4.hadamard": "128",
    });
    await problemOf(await post("/v1/dequantize", body), 422, "shape_mismatch");
  });
});
