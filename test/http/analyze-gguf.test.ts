/** What analysis makes of GGUF, and what it passes over in any container. */
import { describe, expect, test } from "vitest";
import type { Analysis } from "../../src/api/tensors.ts";
import { ggufFile, type GgufTensorBytes } from "../support/gguf-bytes.ts";
import { normals } from "../support/random.ts";
import { bytesOf, problemOf } from "./support.ts";
import { f32, fileInOrder, type Input, post, u8 } from "./tensor-support.ts";

const F32 = 0;
const F16 = 1;
const Q4_0 = 2;
const I32 = 26;
const F64 = 28;
const BF16 = 30;
const MXFP4 = 39;

const u8View = (view: ArrayBufferView) =>
  new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength);

/** Several pieces, and the last one small. */
const WIDE = normals(129 * 1024, 1);
const ODD = normals(3 * 96, 2);
const halves = new Float16Array(ODD);
const tops = Uint16Array.from(
  ODD,
  (x) => new Uint32Array(Float32Array.of(x).buffer)[0]! >>> 16,
);

/** Chosen tensors, with others between them whose bytes need padding. */
const TENSORS: GgufTensorBytes[] = [
  {
    name: "blk.0.ffn_up.weight",
    dimensions: [1024, 129],
    type: F32,
    bytes: u8View(WIDE),
  },
  {
    name: "blk.0.attn_norm.weight",
    dimensions: [33],
    type: F32,
    bytes: u8View(normals(33, 3)),
  },
  {
    name: "blk.0.attn_k.weight",
    dimensions: [96, 3],
    type: F16,
    bytes: u8View(halves),
  },
  {
    name: "blk.0.attn_q.weight",
    dimensions: [32, 3],
    type: Q4_0,
    bytes: new Uint8Array(54),
  },
  {
    name: "blk.0.attn_v.weight",
    dimensions: [96, 3],
    type: BF16,
    bytes: u8View(tops),
  },
  {
    name: "blk.0.attn_o.weight",
    dimensions: [48, 2],
    type: F32,
    bytes: u8View(normals(96, 4)),
  },
  {
    name: "position_embd.weight",
    dimensions: [32, 2],
    type: F32,
    bytes: u8View(normals(64, 5)),
  },
  {
    name: "blk.0.table.weight",
    dimensions: [32, 1],
    type: I32,
    bytes: new Uint8Array(128),
  },
  {
    name: "blk.0.wide.weight",
    dimensions: [32, 1],
    type: F64,
    bytes: new Uint8Array(256),
  },
  {
    name: "blk.0.ffn_down.weight",
    dimensions: [32, 1],
    type: MXFP4,
    bytes: new Uint8Array(17),
  },
];
const GGUF = ggufFile(TENSORS);

async function analyze(query: string, body: Uint8Array): Promise<Analysis> {
  const response = await post(`/v1/analyze?${query}`, body);
  return JSON.parse(
    new TextDecoder().decode(await bytesOf(response)),
  ) as Analysis;
}

describe("POST /v1/analyze of GGUF", () => {
  test("has the figures of the same tensors in safetensors, under every scheme", async () => {
    const query = "compare=all,rounding=stochastic;hadamard=128&seed=9";
    const analyzed = ["ffn_up", "attn_k", "attn_v"];
    // Noise goes by a name's place among all of them.
    const others = TENSORS.map(({ name }) => String(name))
      .filter((name) => !analyzed.some((part) => name.includes(part)))
      .map((name) => f32(name, [1], [1]));
    const same: Input[] = [
      ...others,
      f32("blk.0.ffn_up.weight", [129, 1024], WIDE),
      {
        name: "blk.0.attn_k.weight",
        dtype: "F16",
        shape: [3, 96],
        bytes: u8View(halves),
      },
      {
        name: "blk.0.attn_v.weight",
        dtype: "BF16",
        shape: [3, 96],
        bytes: u8View(tops),
      },
    ];
    const { passedOver: _, ...expected } = await analyze(
      query,
      fileInOrder(same),
    );
    for (const alignment of [32, 8, 512]) {
      for (const lastPadded of [true, false]) {
        const file = ggufFile(TENSORS, { alignment, lastPadded });
        expect(await analyze(query, file)).toMatchObject(expected);
      }
    }
    expect(expected.tensors.map(({ dtype }) => dtype)).toEqual([
      "F32",
      "F16",
      "BF16",
    ]);
  });

  test("is about the bytes that quantizing writes, noise included", async () => {
    const query = "rounding=stochastic&seed=9";
    const file = ggufFile(TENSORS.slice(0, 1));
    const packed = await bytesOf(await post(`/v1/quantize?${query}`, file));
    const back = await bytesOf(await post("/v1/dequantize", packed));
    const values = new Float32Array(
      back.slice(back.length - WIDE.byteLength).buffer,
    );
    const noise = WIDE.reduce((sum, x, i) => sum + (x - values[i]!) ** 2, 0);
    const { total } = await analyze(query, file);
    expect(total.schemes[0]!.mse! / (noise / WIDE.length)).toBeCloseTo(1, 9);
  });

  test("lists what quantizing leaves, with its type and why", async () => {
    const { tensors, passedOver } = await analyze("", GGUF);
    expect(tensors.map(({ name }) => name)).toEqual([
      "blk.0.ffn_up.weight",
      "blk.0.attn_k.weight",
      "blk.0.attn_v.weight",
    ]);
    expect(
      passedOver.map(({ name, dtype, shape, reason }) => [
        name,
        dtype,
        shape.join(),
        reason.split(",")[0],
      ]),
    ).toEqual([
      ["blk.0.attn_norm.weight", "F32", "33", "not a matrix"],
      ["blk.0.attn_q.weight", "Q4_0", "3,32", "quantized already"],
      [
        "blk.0.attn_o.weight",
        "F32",
        "2,48",
        "rows that are not whole blocks of 32",
      ],
      ["position_embd.weight", "F32", "2,32", "positions"],
      ["blk.0.table.weight", "I32", "1,32", "not floats"],
      ["blk.0.wide.weight", "F64", "1,32", "floats that are not read"],
      ["blk.0.ffn_down.weight", "MXFP4", "1,32", "quantized already"],
    ]);
  });

  test("looks at what is included, and says nothing of what was not asked for", async () => {
    const included = await analyze("include=position*&include=*attn_q*", GGUF);
    expect(included.tensors.map(({ name }) => name)).toEqual([
      "position_embd.weight",
    ]);
    expect(included.passedOver.map(({ dtype }) => dtype)).toEqual(["Q4_0"]);
    const excluded = await analyze(
      "exclude=*attn*&exclude=*.t*&exclude=*wide*",
      GGUF,
    );
    expect(excluded.tensors.map(({ name }) => name)).toEqual([
      "blk.0.ffn_up.weight",
    ]);
    expect(excluded.passedOver.map(({ name }) => name)).toEqual([
      "position_embd.weight",
      "blk.0.ffn_down.weight",
    ]);
  });

  test("of one that is quantized already is refused, and says why", async () => {
    const packed = await bytesOf(await post("/v1/quantize", GGUF));
    const response = await post("/v1/analyze", packed);
    const { detail } = await problemOf(response, 422, "nothing_to_convert");
    expect(detail).toContain("3 like it (MXFP4, quantized already)");
  });

  test("that breaks off is no analysis", async () => {
    const file = GGUF.subarray(0, GGUF.length - 1);
    const headers = { "Content-Length": `${GGUF.length}` };
    const response = await post("/v1/analyze", file, headers);
    const { detail } = await problemOf(response, 400, "malformed_body");
    expect(detail).toContain("more bytes");
  });
});

test("of safetensors, integers, 0-D tensors and floats that are not read are passed over", async () => {
  const scalar = f32("scale", [], [1]);
  const quarter: Input = {
    ...u8("fp8", [4], [1, 2, 3, 4]),
    dtype: "F8_E4M3FNUZ",
  };
  const file = fileInOrder([
    u8("ids", [4], [1, 2, 3, 4]),
    scalar,
    quarter,
    u8("other", [4], [1, 2, 3, 4]),
    f32("x", [32], normals(32, 1)),
    u8("mxfp4.filler.0", [2], [0, 0]),
  ]);
  const { tensors, passedOver } = await analyze("exclude=other", file);
  expect(tensors.map(({ name }) => name)).toEqual(["x"]);
  expect(passedOver).toEqual([
    { name: "ids", dtype: "U8", shape: [4], reason: "not floats" },
    { name: "scale", dtype: "F32", shape: [], reason: "no dimension" },
    {
      name: "fp8",
      dtype: "F8_E4M3FNUZ",
      shape: [4],
      reason: "floats that are not read",
    },
  ]);
});
