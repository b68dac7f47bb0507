import { describe, expect, test } from "vitest";
import { SCHEME_PRESETS } from "../../src/api/presets.ts";
import type { Analysis } from "../../src/api/tensors.ts";
import type { Scheme } from "../../src/api/scheme.ts";
import { DEFAULT_SCHEME } from "../../src/formats/blocks/scheme.ts";
import { dequantizeFile, quantizeFile } from "../support/files.ts";
import { normals, uniform } from "../support/random.ts";
import { problemOf } from "./support.ts";
import {
  f32,
  fileInOrder,
  floats,
  type Input,
  post,
  u8,
} from "./tensor-support.ts";

async function analyze(
  query: string,
  tensors: readonly Input[],
): Promise<Analysis> {
  const response = await post(`/v1/analyze?${query}`, fileInOrder(tensors));
  const text = await response.text();
  if (response.status !== 200) throw new Error(text);
  expect(response.headers.get("Content-Type")).toContain("application/json");
  return JSON.parse(text) as Analysis;
}

/** The figures by their definitions, from the quantized and decoded file. */
async function figures(values: Float32Array, scheme: Partial<Scheme>) {
  const { bytes } = await quantizeFile(
    fileInOrder([f32("x", [values.length], values)]),
    scheme,
  );
  const decoded = floats((await dequantizeFile(bytes)).file, "x");
  let [signal, noise, product, power, most] = [0, 0, 0, 0, 0];
  values.forEach((x, i) => {
    const y = decoded[i]!;
    signal += x * x;
    noise += (x - y) ** 2;
    product += x * y;
    power += y * y;
    most = Math.max(most, Math.abs(x - y));
  });
  return {
    sqnrDb: 10 * Math.log10(signal / noise),
    mse: noise / values.length,
    cosine: product / Math.sqrt(signal * power),
    maxError: most,
  };
}

/** Several pieces, and the last one small. */
const VALUES = normals(2 * 65536 + 96, 3);

describe("POST /v1/analyze", () => {
  test.each(Object.entries(SCHEME_PRESETS))(
    "%s: the figures are those of its decoded file",
    async (name, preset) => {
      const { tensors, total } = await analyze(`compare=${name}&seed=5`, [
        f32("x", [VALUES.length], VALUES),
      ]);
      const [tensor] = tensors;
      expect(tensor).toMatchObject({
        name: "x",
        dtype: "F32",
        shape: [VALUES.length],
        elements: VALUES.length,
      });
      const [got] = tensor!.schemes;
      const expected = await figures(VALUES, {
        ...DEFAULT_SCHEME,
        seed: 5,
        ...preset,
      });
      for (const [key, value] of Object.entries(expected)) {
        const ratio = (got![key as keyof typeof expected] as number) / value;
        expect(Math.abs(ratio - 1), key).toBeLessThan(1e-6);
      }
      expect(total.schemes).toEqual(tensor!.schemes);
    },
  );

  test("normal values clip as often as theory says by floor, never by rceil and ceil", async () => {
    const { total } = await analyze("compare=ocp,gpt-oss,torchao-ceil", [
      f32("x", [VALUES.length], VALUES),
    ]);
    const [floor, rceil, ceil] = total.schemes;
    expect(floor!.clipped).toBeGreaterThan(0.022);
    expect(floor!.clipped).toBeLessThan(0.025);
    expect(rceil!.clipped).toBe(0);
    expect(ceil!.clipped).toBe(0);
    expect(ceil!.zeroed).toBeGreaterThan(floor!.zeroed);
    expect(total.kurtosis).toBeGreaterThan(2.9);
    expect(total.kurtosis).toBeLessThan(3.1);
  });

  test("kurtosis over pieces and tensors is that of all values", async () => {
    const next = uniform(2);
    const heavy = Float32Array.from(
      VALUES,
      (x) => 5 + x * (next() < 0.01 ? 20 : 1),
    );
    const parts = [heavy.subarray(0, 70_000), heavy.subarray(70_000)];
    const { total } = await analyze(
      "",
      parts.map((part, i) => f32(`x${i}`, [part.length], part)),
    );
    const mean = heavy.reduce((sum, x) => sum + x, 0) / heavy.length;
    const moment = (n: number) =>
      heavy.reduce((sum, x) => sum + (x - mean) ** n, 0) / heavy.length;
    expect(total.kurtosis! / (moment(4) / moment(2) ** 2)).toBeCloseTo(1, 9);
    expect(total.kurtosis).toBeGreaterThan(10);
  });

  test("a NaN takes its block, which is counted and not summed", async () => {
    const values = normals(320, 1);
    const clean = await analyze(
      "",
      [f32("x", [320], values.subarray(32))].map((t) => ({
        ...t,
        shape: [288],
      })),
    );
    values[5] = NaN;
    const { total } = await analyze("", [f32("x", [320], values)]);
    expect(total.schemes[0]!.nan).toBeCloseTo(0.1, 12);
    expect(total.schemes[0]!.mse).toBeCloseTo(clean.total.schemes[0]!.mse!, 12);
  });

  test("what holds exactly has no error, and figures without a value are null", async () => {
    const { tensors } = await analyze("compare=ocp", [
      f32("exact", [32], Array(32).fill(1.5)),
      f32("zero", [32], Array(32).fill(0)),
      f32("none", [0], []),
    ]);
    const [exact, zero, none] = tensors.map(({ schemes }) => schemes[0]!);
    expect(exact).toMatchObject({
      sqnrDb: null,
      mse: 0,
      cosine: 1,
      maxError: 0,
      zeroed: 0,
    });
    expect(zero).toMatchObject({
      sqnrDb: null,
      mse: 0,
      cosine: null,
      maxError: 0,
      zeroed: 0,
    });
    expect(none).toMatchObject({
      sqnrDb: null,
      mse: null,
      cosine: null,
      maxError: null,
      nan: 0,
    });
    expect(tensors.map(({ recommended }) => recommended)).toEqual([
      "ocp",
      null,
      null,
    ]);
  });

  test("the recommendation follows its rule", async () => {
    // One outlier a block: a rotation spreads it, so its SQNR is the best by far.
    const next = uniform(9);
    const outliers = Float32Array.from({ length: 6400 }, (_, i) =>
      i % 64 === 7 ? 40 : next() - 0.5,
    );
    const query = "compare=ocp,gpt-oss,hadamard=64,scale=ceil";
    const spiky = await analyze(query, [f32("x", [6400], outliers)]);
    const best = Math.max(...spiky.total.schemes.map(({ sqnrDb }) => sqnrDb!));
    const first = spiky.total.schemes.find(
      ({ sqnrDb }) => sqnrDb! >= best - 0.05,
    )!;
    expect(spiky.total.recommended).toBe(first.scheme);
    expect(spiky.rule).toContain("0.05 dB");
    // The same scheme twice: the first is named.
    const same = await analyze("compare=scale=floor,ocp", [
      f32("x", [64], normals(64, 1)),
    ]);
    expect(same.total.recommended).toBe("scale=floor");
    // Rotations spread a NaN to its segment, which costs them the recommendation.
    outliers[0] = NaN;
    const spoiled = await analyze("compare=hadamard=256,ocp", [
      f32("x", [6400], outliers),
    ]);
    expect(spoiled.total.recommended).toBe("ocp");
  });

  test("only chosen float tensors are looked at", async () => {
    const input = [
      f32("a", [32], normals(32, 1)),
      f32("b", [33], normals(33, 2)),
      u8("ids", [3], [1, 2, 3]),
    ];
    const { tensors } = await analyze("exclude=a&compare=all", input);
    expect(tensors.map(({ name }) => name)).toEqual(["b"]);
    expect(tensors[0]!.schemes.map(({ scheme }) => scheme)).toEqual(
      Object.keys(SCHEME_PRESETS),
    );
  });

  test("an option list starts from the query", async () => {
    const x = [f32("x", [256], normals(256, 4))];
    const { total } = await analyze(
      "rounding=nearest-away&compare=scale=even;min-scale=1,rounding=stochastic",
      x,
    );
    const expected = await figures(normals(256, 4), {
      rounding: "nearest-away",
      scale: "even",
    });
    expect(total.schemes[0]!.sqnrDb).toBeCloseTo(expected.sqnrDb, 6);
    const stochastic = await figures(normals(256, 4), {
      rounding: "stochastic",
      scale: "rceil",
    });
    expect(total.schemes[1]!.sqnrDb).toBeCloseTo(stochastic.sqnrDb, 6);
  });

  test("what the query tells stays where a list does not change it", async () => {
    const x = [f32("x", [256], normals(256, 4))];
    const { total } = await analyze(
      "scale=floor&compare=rounding=stochastic,rounding=stochastic;scale=floor",
      x,
    );
    const [kept, told] = total.schemes;
    expect(kept!.clipped).toBeGreaterThan(0);
    expect({ ...kept, scheme: told!.scheme }).toEqual(told);
  });

  test.each([
    ["compare=nvfp4", '"nvfp4"'],
    ["compare=scale=up", '"up"'],
    ["compare=scale=ceil=floor", '"ceil=floor"'],
    ["compare=scale=ceil;scale=floor", '"scale=ceil;scale=floor"'],
    ["compare=layout=ggml", '"layout=ggml"'],
    ["compare=", '""'],
    [`compare=${Array(17).fill("ocp").join(",")}`, "17"],
    ["compare=all,all,ocp", "17"],
    ["layout=ggml", "`layout`"],
    ["output-type=keep", '"keep"'],
  ])("?%s is refused", async (query, got) => {
    const response = await post(`/v1/analyze?${query}`, fileInOrder([]));
    expect((await problemOf(response, 422, "invalid_option")).detail).toContain(
      got,
    );
  });
});

describe("for a loader", () => {
  const weight = normals(64 * 96, 11);
  const experts = "model.layers.0.mlp.experts.gate_up_proj";
  const MODEL: Input[] = [
    f32("model.layers.0.mlp.up_proj.weight", [96, 64], weight),
    f32("model.layers.0.input_layernorm.weight", [64], normals(64, 3)),
    f32(experts, [2, 64, 96], normals(2 * 64 * 96, 5)),
  ];

  test("judges what it takes, and nothing that it leaves", async () => {
    const { tensors, passedOver, loaders } = await analyze("for=vllm", MODEL);
    const [name] = ["model.layers.0.mlp.up_proj.weight"];
    expect(tensors.map((tensor) => tensor.name)).toEqual([name]);
    const even = tensors[0]!.schemes[3]!;
    expect(even.scheme).toBe("scale=even");
    const expected = await figures(weight, { scale: "even" });
    expect(even.sqnrDb).toBeCloseTo(expected.sqnrDb, 9);
    expect(passedOver).toMatchObject([
      { reason: "a norm" },
      {
        name: experts,
        reason: expect.stringContaining("one by one") as string,
      },
    ]);
    expect(loaders).toMatchObject([{ loader: "vllm", tensors: 1 }]);
  });

  test.each([
    ["for=nobody", "invalid_option"],
    ["for=llama.cpp", "invalid_option"],
    ["for=transformers", "nothing_to_convert"],
    ["for=vllm&include=*norm*", "nothing_to_convert"],
    ["for=vllm&compare=paper", "invalid_option"],
    ["for=vllm&output-type=keep", "invalid_option"],
  ])("%s: %s", async (query, code) => {
    const response = await post(`/v1/analyze?${query}`, fileInOrder(MODEL));
    await problemOf(response, 422, code);
  });
});
