import { describe, expect, it, test } from "vitest";
import type { RunConfig } from "../../src/api/run-config.ts";
import { modelOf } from "../../src/model/architectures.ts";
import { initialParameters } from "../../src/model/parameters.ts";
import { dotVariance } from "../../src/scripts/gradients/dot-variance.ts";
import { layerErrors } from "../../src/training/layer-errors.ts";
import {
  type ObservedLayer,
  observeLayers,
} from "../../src/training/observed-layers.ts";
import { zeroedShares } from "../../src/training/zeroed-codes.ts";
import { readBatch } from "../../src/training/data.ts";
import { matmul } from "../reference/matmul.ts";
import { arena } from "../support/kernels-node.ts";
import { lossAndGradient } from "../support/model.ts";
import { normals, uniform } from "../support/random.ts";

const layer: ObservedLayer = {
  name: "a layer",
  layer: 0,
  index: 0,
  layout: "in-out",
  tokens: 64,
  inFeatures: 64,
  outFeatures: 128,
  weight: normals(64 * 128, 1).slice(),
  input: normals(64 * 64, 2).slice(),
  dOutput: normals(64 * 128, 3).slice(),
};

describe("layerErrors", () => {
  it("finds none in f32, and the same in every draw to nearest", () => {
    const { dX, dW } = layerErrors(layer, "f32", 2);
    for (const { cosine, slope, oneDraw, ofMean } of [dX, dW]) {
      expect(cosine).toBeCloseTo(1, 12);
      expect(slope).toBe(1);
      expect([oneDraw, ...ofMean]).toEqual([0, 0, 0]);
    }
    const nearest = layerErrors(layer, "mxfp4", 4).dW;
    expect(nearest.oneDraw).toBeGreaterThan(0.01);
    expect(nearest.slope).toBeLessThan(0.98);
    expect(nearest.ofMean).toHaveLength(3);
    for (const error of nearest.ofMean)
      expect(error).toBeCloseTo(nearest.oneDraw, 9);
  });

  it("falls as 1/n where there is no bias", () => {
    const draws = 64;
    for (const recipe of ["mxfp4-rht-sr", "mxfp4-rht-eden"] as const) {
      const errors = layerErrors(layer, recipe, draws);
      for (const { oneDraw, ofMean, slope } of [errors.dX, errors.dW]) {
        expect(ofMean).toHaveLength(7);
        const ratio = (draws * ofMean.at(-1)!) / oneDraw;
        expect(ratio, recipe).toBeGreaterThan(0.85);
        expect(ratio, recipe).toBeLessThan(1.2);
        expect(Math.abs(slope - 1), recipe).toBeLessThan(0.005);
      }
    }
  });
});

test("observeLayers sees each layer's own x, W and dY", async () => {
  const model = { layers: 2, width: 64, heads: 2, context: 64, vocabulary: 64 };
  const draw = uniform(5);
  const corpus = Uint8Array.from({ length: 4096 }, () => 64 * draw());
  const config = {
    model,
    seed: 3,
    steps: 7,
    sequences: 1,
    dataset: { tokens: corpus.length },
  } as unknown as RunConfig;
  const { table } = modelOf(model);
  const values = initialParameters(table, 3, 0, table.length);
  const tensors = new Map(
    table.tensors.map(({ name, offset, length }) => [
      name,
      new Uint8Array(values.slice(offset, offset + length).buffer),
    ]),
  );
  const layers = await observeLayers(config, tensors, corpus);
  expect(layers.map(({ name }) => name)).toEqual(
    [0, 1].flatMap((block) =>
      ["QKV", "attention out", "MLP up", "MLP down"].map(
        (name) => `block ${block}, ${name}`,
      ),
    ),
  );
  // The model's own gradient of a weight is xᵀ · dY of what was seen.
  const read = (start: number, length: number) =>
    Promise.resolve(corpus.subarray(start, start + length));
  const lease = { kind: "train", step: 7, index: 0 } as const;
  const batch = await readBatch(config, lease, read);
  const gradient = arena.scope(() => {
    const out = arena.allocF32(table.length);
    const noise = { seed: 3, step: 7, microbatch: 0 };
    lossAndGradient(model, "f32", arena.copyIn(values), out, batch, noise);
    return arena.f32(out, table.length).slice();
  });
  const weights = table.tensors.filter(({ group }) => group === "matrix");
  const columns = (x: Float32Array, rows: number, width: number) =>
    Float32Array.from(
      x,
      (_, i) => x[(i % rows) * width + Math.floor(i / rows)]!,
    );
  for (const { offset, length, name } of weights) {
    const block = Number(/\d+/.exec(name)![0]);
    const own = layers.filter(
      (each) =>
        each.layer === block &&
        each.inFeatures * each.outFeatures === length &&
        each.weight.every((v, i) => v === values[offset + i]),
    );
    expect(own, name).toHaveLength(1);
    const [{ input, dOutput, tokens, inFeatures, outFeatures }] = own as [
      ObservedLayer,
    ];
    const exact = matmul(
      columns(input, tokens, inFeatures),
      columns(dOutput, tokens, outFeatures),
      inFeatures,
      outFeatures,
      tokens,
    ).out;
    const largest = Math.max(...exact.map(Math.abs));
    const off = exact.map((v, i) => Math.abs(v - gradient[offset + i]!));
    expect(Math.max(...off), name).toBeLessThan(1e-5 * largest);
  }
});

test("zeroed codes: a few per cent of draws, and none that were zero", () => {
  const { nearest, rotatedNearest, rotatedStochastic } = zeroedShares(layer);
  // 8.8 and 11.6 % of normal draws.
  for (const share of [nearest, rotatedNearest]) {
    expect(share).toBeGreaterThan(0.07);
    expect(share).toBeLessThan(0.1);
  }
  expect(rotatedStochastic).toBeGreaterThan(0.1);
  expect(rotatedStochastic).toBeLessThan(0.13);
  const zeros = { ...layer, dOutput: new Float32Array(64 * 128) };
  expect(zeroedShares(zeros)).toEqual({
    nearest: 0,
    rotatedNearest: 0,
    rotatedStochastic: 0,
  });
});

test("the variance of a dot product is the formula's, and a rotation takes outliers' share", () => {
  const [plain, rotated] = [false, true].map((isRotated) =>
    dotVariance(256, 0.1, isRotated),
  );
  for (const { measured, exact } of [plain!, rotated!]) {
    expect(Math.abs(measured / exact - 1)).toBeLessThan(0.04);
  }
  expect(rotated!.exact).toBeLessThan(0.85 * plain!.exact);
});
