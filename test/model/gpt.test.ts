import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import {
  RECIPE_NAMES,
  RECIPES,
  type Recipe,
  segmentLength,
} from "../../src/api/recipe.ts";
import { adamW } from "../../src/kernels/vector.ts";
import {
  evaluateLoss,
  logits,
  lossAndGradient,
  parameterTable,
} from "../support/model.ts";
import {
  type Batch,
  KEPT_ACTIVATIONS,
  type KeptActivations,
} from "../../src/model/model.ts";
import {
  initialParameters,
  paddingRanges,
} from "../../src/model/parameters.ts";
import * as twin from "../reference/gpt.ts";
import { expectClose } from "../support/close.ts";
import { normals, uniform } from "../support/random.ts";

/** No size a multiple of 4, so that every kernel meets its remainder. */
const odd = { layers: 2, width: 10, heads: 2, context: 9, vocabulary: 11 };
const table = parameterTable(odd);
/** Those that models of these widths can be trained by. */
const RECIPES_OF_64 = RECIPE_NAMES.filter(
  (recipe) => segmentLength(recipe) <= 64,
);
const NOISE = { seed: 3, step: 0, microbatch: 0 };

function randomBatch(vocabulary: number, sequences: number, T: number): Batch {
  const next = uniform(sequences + T);
  const token = () => Math.floor(next() * vocabulary);
  const tokens = Int32Array.from({ length: sequences * T }, token);
  return { sequences, tokens, targets: tokens.map(token) };
}

/** Larger than initial ones, so that every part of the model bends; padding 0. */
function roughParameters(): Float32Array {
  const parameters = normals(table.length, 1).map((value) => 0.3 * value);
  for (const { start, length } of paddingRanges(table, 0, table.length)) {
    parameters.fill(0, start, start + length);
  }
  return parameters;
}

function run(
  parameters: Float32Array,
  batch: Batch,
  recipe: Recipe = "f32",
  keeps: KeptActivations = "all",
) {
  return arena.scope(() => {
    const source = arena.copyIn(parameters);
    const gradient = arena.copyIn(new Float32Array(table.length).fill(7));
    const loss = lossAndGradient(
      odd,
      recipe,
      source,
      gradient,
      batch,
      NOISE,
      keeps,
    );
    return {
      ...loss,
      evaluated: evaluateLoss(odd, recipe, source, batch),
      gradient: arena.f32(gradient, table.length).slice(),
    };
  });
}

describe("GPT", () => {
  it("has the loss of its f64 twin and the gradient of that loss, element by element", () => {
    const parameters = roughParameters();
    // Shorter than the context, and one target not counted.
    const batch = randomBatch(odd.vocabulary, 2, 7);
    batch.targets[3] = -1;
    const got = run(parameters, batch);

    const exact = Float64Array.from(parameters);
    const lossSum = twin.lossSum(odd, table, exact, batch);
    expect(got.tokens).toBe(13);
    expectClose([got.lossSum / lossSum], [1], 1e-5);

    const step = 1e-5;
    const want = new Float64Array(table.length);
    for (const { offset, length } of table.tensors) {
      for (let i = offset; i < offset + length; i++) {
        const value = exact[i]!;
        exact[i] = value + step;
        const above = twin.lossSum(odd, table, exact, batch);
        exact[i] = value - step;
        const below = twin.lossSum(odd, table, exact, batch);
        exact[i] = value;
        want[i] = (above - below) / (2 * step) / 13;
      }
    }
    expectClose(got.gradient, want, 2e-5);
  });

  it("evaluates to the very loss that training sees", () => {
    const batch = randomBatch(odd.vocabulary, 3, 9);
    for (const recipe of ["f32", "bf16"] as const) {
      const { lossSum, tokens, evaluated } = run(
        roughParameters(),
        batch,
        recipe,
      );
      expect(evaluated).toEqual({ lossSum, tokens });
    }
  });

  it("has the same gradient from less than from all activations", () => {
    const batch = randomBatch(odd.vocabulary, 3, 9);
    for (const recipe of ["f32", "bf16"] as const) {
      const all = run(roughParameters(), batch, recipe, "all");
      for (const keeps of KEPT_ACTIVATIONS) {
        expect(run(roughParameters(), batch, recipe, keeps)).toEqual(all);
      }
    }
  });

  it("gives the same bytes twice", () => {
    const batch = randomBatch(odd.vocabulary, 3, 9);
    const first = run(roughParameters(), batch);
    expect(run(roughParameters(), batch)).toEqual(first);
  });

  it("has a zero gradient when no target counts", () => {
    const batch = randomBatch(odd.vocabulary, 1, 5);
    batch.targets.fill(-1);
    const { lossSum, tokens, gradient } = run(roughParameters(), batch);
    expect({ lossSum, tokens }).toEqual({ lossSum: 0, tokens: 0 });
    expect(gradient.every((value) => value === 0)).toBe(true);
  });

  it("makes loss and gradient NaN when a parameter is", () => {
    const parameters = roughParameters();
    const { offset } = table.tensors.find(({ name }) =>
      name.endsWith("h.1.mlp.c_fc.weight"),
    )!;
    parameters[offset + 5] = NaN;
    const got = run(parameters, randomBatch(odd.vocabulary, 1, 5));
    expect(got.lossSum).toBeNaN();
    expect(got.gradient.some(Number.isNaN)).toBe(true);
  });

  it("gives the logits of all positions", () => {
    const { tokens } = randomBatch(odd.vocabulary, 1, 9);
    arena.scope(() => {
      const parameters = arena.copyIn(roughParameters());
      const all = logits(odd, "f32", parameters, tokens, 1);
      expect(all.length).toBe(9 * odd.vocabulary);
      // Causal: a shorter text has the same logits where it goes.
      const start = logits(odd, "f32", parameters, tokens.subarray(0, 4), 1);
      expect(start).toEqual(all.subarray(0, 4 * odd.vocabulary));
    });
  });

  it("refuses tokens, targets and lengths outside its shape", () => {
    const batch = randomBatch(odd.vocabulary, 2, 9);
    const refusal = (change: Partial<Batch>) => () =>
      run(roughParameters(), { ...batch, ...change });
    expect(refusal({ tokens: batch.tokens.with(4, 11) })).toThrow(
      "Expected tokens from 0 to 10, got 11",
    );
    expect(refusal({ targets: batch.targets.with(4, -2) })).toThrow(
      "Expected tokens from -1 to 10, got -2",
    );
    expect(refusal({ sequences: 1 })).toThrow(
      "Expected 1 sequences of 1 to 9 tokens each, got 18 tokens",
    );
    expect(refusal({ sequences: 4 })).toThrow("got 18 tokens");
    expect(refusal({ targets: batch.targets.subarray(1) })).toThrow(
      "Expected a target for each of 18 tokens, got 17",
    );
  });
});

describe("recipes", () => {
  const shape = { layers: 2, width: 64, heads: 2, context: 32, vocabulary: 32 };
  const trained = parameterTable(shape);
  const { length } = trained;
  // Text with a pattern that can be learnt: each token follows from the one before.
  const batchOf = (step: number): Batch => {
    const tokens = Int32Array.from(
      { length: 64 },
      (_, i) => (5 * (i + step) + (i >> 5)) % 32,
    );
    return {
      sequences: 2,
      tokens,
      targets: tokens.map((token) => (token + 5) % 32),
    };
  };

  function train(recipe: Recipe, steps: number): number[] {
    return arena.scope(() => {
      const parameters = arena.copyIn(initialParameters(trained, 1, 0, length));
      const gradient = arena.allocF32(length);
      const m = arena.allocZeroedF32(length);
      const v = arena.allocZeroedF32(length);
      return Array.from({ length: steps }, (_, step) => {
        const noise = { seed: 1, step, microbatch: 0 };
        const { lossSum, tokens } = lossAndGradient(
          shape,
          recipe,
          parameters,
          gradient,
          batchOf(step),
          noise,
        );
        adamW(parameters, m, v, gradient, length, {
          updates: step + 1,
          learningRate: 3e-3,
          beta1: 0.9,
          beta2: 0.95,
          epsilon: 1e-8,
          weightDecay: 0,
          gradientScale: 1,
        });
        return lossSum / tokens;
      });
    });
  }

  const exact = train("f32", 12);

  it.each(RECIPES_OF_64)("%s starts at f32's loss and learns", (recipe) => {
    const losses = train(recipe, 12);
    const limit = RECIPES[recipe].forward.format === "mxfp4" ? 5e-3 : 1e-3;
    expect(Math.abs(losses[0] - exact[0])).toBeLessThan(limit);
    expect(losses[11]).toBeLessThan(losses[0] - 1);
  });

  it("of MXFP4 refuse rows that are not whole segments of 64", () => {
    const batch = randomBatch(odd.vocabulary, 1, 9);
    expect(() => run(roughParameters(), batch, "mxfp4")).toThrow(
      "Expected `outFeatures` to be a multiple of 64 in an MXFP4 recipe, got 10",
    );
    const half = { ...batchOf(0), sequences: 1 };
    half.tokens = half.tokens.subarray(0, 32);
    half.targets = half.targets.subarray(0, 32);
    const refused = () =>
      arena.scope(() => {
        const parameters = arena.allocZeroedF32(length);
        const gradient = arena.allocF32(length);
        const noise = { seed: 1, step: 0, microbatch: 0 };
        lossAndGradient(shape, "mxfp4", parameters, gradient, half, noise);
      });
    expect(refused).toThrow(
      "Expected `tokens` to be a multiple of 64 in an MXFP4 recipe, got 32",
    );
  });

  it("have gradients of their own, all near f32's", () => {
    const gradients = RECIPES_OF_64.map((recipe) =>
      arena.scope(() => {
        const initial = initialParameters(trained, 1, 0, length);
        const parameters = arena.copyIn(initial);
        const gradient = arena.allocF32(length);
        const noise = { seed: 1, step: 0, microbatch: 0 };
        lossAndGradient(shape, recipe, parameters, gradient, batchOf(0), noise);
        return arena.f32(gradient, length).slice();
      }),
    );
    for (const [i, gradient] of gradients.entries()) {
      const limit = RECIPES_OF_64[i] === "bf16" ? 0.02 : 0.6;
      expect(distance(gradient, gradients[0])).toBeLessThan(limit);
      for (const other of gradients.slice(0, i)) {
        expect(distance(gradient, other)).toBeGreaterThan(1e-4);
      }
    }
  });
});

/** ‖a − b‖ / ‖b‖ */
function distance(a: Float32Array, b: Float32Array): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < a.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}
