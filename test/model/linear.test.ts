import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import {
  ALGORITHM_2,
  type Mxfp4Quantizer,
  type Recipe,
  RECIPE_NAMES,
  type RecipeDescription,
  RECIPES,
} from "../../src/api/recipe.ts";
import { linearBackward, linearForward } from "../../src/model/linear.ts";
import {
  type NoiseCoordinates,
  operandKey,
  signsKey,
} from "../../src/model/linear-noise.ts";
import { int6PanelBytes } from "../../src/kernels/int6-matmul.ts";
import type { MatrixLayout } from "../../src/model/parameters.ts";
import { PackedWeights } from "../../src/model/packed-weights.ts";
import * as twin from "../reference/matmul.ts";
import { expectClose, F32_EPSILON } from "../support/close.ts";
import { multiply, quantize, rotate, signs } from "../support/mxfp4.ts";
import { normals } from "../support/random.ts";

const WHOLE: Mxfp4Quantizer = {
  rounding: "nearest-even",
  prescale: 1,
  correction: 1,
};
/** What no recipe has: two operands that are prescaled otherwise. Which is whose shows nowhere else. */
const UNLIKE = "unlike" as Recipe;
const unlike = (a: Mxfp4Quantizer, b: Mxfp4Quantizer) =>
  ({ format: "mxfp4", rotation: 64, a, b }) as const;
(RECIPES as Record<string, RecipeDescription>)[UNLIKE] = {
  ...RECIPES["mxfp4-rht-sr-dy"],
  dInput: unlike(ALGORITHM_2, WHOLE),
  dWeight: unlike(WHOLE, ALGORITHM_2),
};

const [T, IN, OUT] = [128, 64, 128];
const PLACE = { layer: 1, index: 2 };

const x = normals(T * IN, 1);
const weight = normals(IN * OUT, 2).map((value) => 0.1 * value);
const bias = normals(OUT, 3);
const dY = normals(T * OUT, 4);
// Outliers, as activations and gradients have them.
for (const values of [x, weight, dY]) {
  for (let at = 5; at < values.length; at += 97) values[at] *= 8;
}
const weightT = twin.transpose(weight, IN, OUT); // [out, in]
const xT = twin.transpose(x, T, IN); // [in, T]
const dYT = twin.transpose(dY, T, OUT); // [out, T]
const exactY = twin.matmul(x, weightT, T, OUT, IN);
const exactDx = twin.matmul(dY, weight, T, IN, OUT);
const exactDw = twin.matmul(xT, dYT, IN, OUT, T);

type Result = {
  y: Float32Array;
  dX: Float32Array;
  dW: Float32Array;
  dB: Float32Array;
};

function run(
  recipe: Recipe,
  noise: NoiseCoordinates,
  dOutput = dY,
  place = PLACE,
  layout: MatrixLayout = "in-out",
): Result {
  return arena.scope(() => {
    const linear = {
      readWeight: () => arena.copyIn(layout === "in-out" ? weight : weightT),
      layout,
      inFeatures: IN,
      outFeatures: OUT,
      ...place,
    };
    const input = arena.copyIn(x);
    const y = arena.allocF32(T * OUT);
    const gradients = {
      dInput: arena.copyIn(new Float32Array(T * IN).fill(9)),
      dWeight: arena.copyIn(new Float32Array(IN * OUT).fill(9)),
      dBias: arena.allocZeroedF32(OUT),
    };
    const gradient = arena.copyIn(dOutput);
    const packed = new PackedWeights();
    linearForward(y, input, arena.copyIn(bias), linear, T, recipe, packed);
    linearBackward(
      gradients,
      gradient,
      input,
      linear,
      T,
      recipe,
      noise,
      packed,
    );
    return {
      y: arena.f32(y, T * OUT).slice(),
      dX: arena.f32(gradients.dInput, T * IN).slice(),
      dW: arena.f32(gradients.dWeight, IN * OUT).slice(),
      dB: arena.f32(gradients.dBias, OUT).slice(),
    };
  });
}

/** ‖got − want‖ / ‖want‖ */
function relativeError(got: ArrayLike<number>, want: Float64Array): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < want.length; i++) {
    difference += (got[i] - want[i]) ** 2;
    norm += want[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Relative errors of the means of dX and dW over the first n of `counts` seeds. */
function errorsOfMeans(recipe: Recipe, counts: number[]) {
  const sumDx = new Float64Array(T * IN);
  const sumDw = new Float64Array(IN * OUT);
  const errors: { n: number; dX: number; dW: number }[] = [];
  const last = counts[counts.length - 1];
  for (let n = 1; n <= last; n++) {
    const { dX, dW } = run(recipe, { seed: n, step: 0, microbatch: 0 });
    dX.forEach((value, i) => (sumDx[i] += value));
    dW.forEach((value, i) => (sumDw[i] += value));
    if (!counts.includes(n)) continue;
    errors.push({
      n,
      dX: relativeError(
        sumDx.map((sum) => sum / n),
        exactDx.out,
      ),
      dW: relativeError(
        sumDw.map((sum) => sum / n),
        exactDw.out,
      ),
    });
  }
  return errors;
}

const NOISE = { seed: 1, step: 0, microbatch: 0 };

describe("f32 and bf16", () => {
  it("f32 gives the three products and the bias gradient", () => {
    const { y, dX, dW, dB } = run("f32", NOISE);
    const within = (magnitude: Float64Array, k: number) =>
      magnitude.map((sum) => 2 * (k + 2) * F32_EPSILON * (sum + 5));
    expectClose(
      y,
      exactY.out.map((value, at) => value + bias[at % OUT]),
      within(exactY.magnitude, IN),
    );
    expectClose(dX, exactDx.out, within(exactDx.magnitude, OUT));
    expectClose(dW, exactDw.out, within(exactDw.magnitude, T));
    const sums = new Float64Array(OUT);
    dY.forEach((value, at) => (sums[at % OUT] += value));
    expectClose(dB, sums, 1e-4);
  });

  it("bf16 is f32 on rounded operands, in all three GEMMs", () => {
    const { y, dX, dW, dB } = run("bf16", NOISE);
    const [a, w, d] = [x, weight, dY].map(twin.roundToBf16);
    const wT = twin.transpose(w, IN, OUT);
    const forward = twin.matmul(a, wT, T, OUT, IN).out;
    expectClose(
      y,
      forward.map((value, at) => value + bias[at % OUT]),
      1e-3,
    );
    expectClose(dX, twin.matmul(d, w, T, IN, OUT).out, 1e-3);
    const aT = twin.transpose(a, T, IN);
    const dT = twin.transpose(d, T, OUT);
    expectClose(dW, twin.matmul(aT, dT, IN, OUT, T).out, 1e-3);
    expect(dB).toEqual(run("f32", NOISE).dB);
    expect(relativeError(y, exactY.out)).toBeGreaterThan(1e-4);
  });

  it("every MXFP4 recipe has bf16's forward pass and f32's bias gradient", () => {
    for (const recipe of [
      "mxfp4",
      "mxfp4-rht",
      "mxfp4-sr",
      "mxfp4-rht-sr",
      "mxfp4-rht32-sr",
      "mxfp4-rht128-sr",
      "mxfp4-rht-sr-dy",
      "mxfp4-rht-pma",
      "mxfp4-rht-eden",
    ] as const) {
      const { y, dB } = run(recipe, NOISE);
      expect(y).toEqual(run("bf16", NOISE).y);
      expect(dB).toEqual(run("f32", NOISE).dB);
    }
  });
});

describe("int6", () => {
  it("is the forward pass only, near the exact one, on each group's own scale", () => {
    const { y, dX, dW, dB } = run("int6-mxfp4-rht-sr", NOISE);
    const backward = run("mxfp4-rht-sr", NOISE);
    expect([dX, dW, dB]).toEqual([backward.dX, backward.dW, backward.dB]);
    const want = exactY.out.map((value, at) => value + bias[at % OUT]);
    const error = relativeError(y, want);
    expect(error).toBeGreaterThan(0.01);
    expect(error).toBeLessThan(0.06);
  });

  it("refuses rows that are not whole groups", () => {
    const linear = {
      readWeight: () => 0,
      layout: "in-out" as const,
      inFeatures: 96,
      outFeatures: 64,
    };
    const packed = new PackedWeights();
    expect(() =>
      linearForward(
        0,
        0,
        0,
        { ...linear, ...PLACE },
        64,
        "int6-mxfp4-rht-sr",
        packed,
      ),
    ).toThrow("Expected `inFeatures` to be a multiple of 64");
  });

  it.each([...RECIPE_NAMES, UNLIKE])(
    "of a weight that lies transposed, and its gradient, is the same to the bit: %s",
    (recipe) => {
      const plain = run(recipe, NOISE);
      const turned = run(recipe, NOISE, dY, PLACE, "out-in");
      const dW = twin.transpose(turned.dW, OUT, IN);
      expect({ ...turned, dW }).toEqual(plain);
    },
  );

  it("packs a weight once for all that share it, apart from the backward pass's", () => {
    const packed = new PackedWeights(int6PanelBytes("b", OUT, IN));
    const results = arena.scope(() => {
      const input = arena.copyIn(x);
      const [source, offset] = [arena.copyIn(weight), arena.copyIn(bias)];
      const linear = {
        readWeight: () => source,
        layout: "in-out" as const,
        inFeatures: IN,
        outFeatures: OUT,
        ...PLACE,
      };
      return [0, 1].map((round) => {
        const y = arena.allocF32(T * OUT);
        linearForward(y, input, offset, linear, T, "int6-mxfp4-rht-sr", packed);
        if (round === 0) arena.f32(source, IN * OUT).fill(0);
        return arena.f32(y, T * OUT).slice();
      });
    });
    packed.free();
    expect(results[1]).toEqual(results[0]);
  });
});

describe("mxfp4-full", () => {
  it("has four bits in its forward pass too, and the paper's backward pass", () => {
    const { y, dX, dW, dB } = run("mxfp4-full", NOISE);
    const backward = run("mxfp4-rht-sr", NOISE);
    expect([dX, dW, dB]).toEqual([backward.dX, backward.dW, backward.dB]);
    const nearest = (operand: Float32Array) =>
      quantize(operand, {
        rounding: { mode: "nearest-even" },
        scale: "floor",
        prescale: 1,
      });
    const product = multiply(nearest(x), nearest(weightT), T, OUT, IN, 1);
    expect(y).toEqual(
      product.map((value, at) => Math.fround(value + bias[at % OUT]!)),
    );
  });
});

describe("Algorithm 3", () => {
  const counts = [25, 100, 400];

  const NEAREST = { stochastic: false, prescale: 1 } as const;
  const ALIGNED = { stochastic: false, prescale: 0.75 } as const;
  const STOCHASTIC = { stochastic: true, prescale: 0.75 } as const;
  const SHRINKING = 1.00904;

  it.each([
    { recipe: "mxfp4", segment: 0, dY: NEAREST, other: NEAREST, factor: 1 },
    {
      recipe: "mxfp4-rht",
      segment: 64,
      dY: NEAREST,
      other: NEAREST,
      factor: 1,
    },
    {
      recipe: "mxfp4-sr",
      segment: 0,
      dY: STOCHASTIC,
      other: STOCHASTIC,
      factor: 16 / 9,
    },
    {
      recipe: "mxfp4-rht-sr",
      segment: 64,
      dY: STOCHASTIC,
      other: STOCHASTIC,
      factor: 16 / 9,
    },
    {
      recipe: "mxfp4-rht32-sr",
      segment: 32,
      dY: STOCHASTIC,
      other: STOCHASTIC,
      factor: 16 / 9,
    },
    {
      recipe: "mxfp4-rht128-sr",
      segment: 128,
      dY: STOCHASTIC,
      other: STOCHASTIC,
      factor: 16 / 9,
    },
    {
      recipe: "mxfp4-rht-pma",
      segment: 64,
      dY: ALIGNED,
      other: ALIGNED,
      factor: (16 / 9) * SHRINKING ** 2,
    },
    {
      recipe: "mxfp4-rht-sr-dy",
      segment: 64,
      dY: STOCHASTIC,
      other: ALIGNED,
      factor: (16 / 9) * SHRINKING,
    },
    {
      recipe: UNLIKE,
      segment: 64,
      dY: STOCHASTIC,
      other: NEAREST,
      factor: 4 / 3,
    },
  ] as const)(
    "$recipe, written out, gives the same bytes",
    ({ recipe, segment, dY: ofDy, other, factor }) => {
      const noise = { seed: 9, step: 4, microbatch: 3 };
      const product = (
        gemm: number,
        operands: [Float32Array, Float32Array],
        [m, n, k]: [number, number, number],
      ) => {
        const [a, b] = operands.map((operand, index) => {
          const key = operandKey(noise, PLACE, gemm, index);
          const rotated =
            segment === 0
              ? operand
              : rotate(operand, signs(segment, signsKey(noise, PLACE, gemm)));
          // dY is the first operand of dX, and the second of dW.
          const { stochastic, prescale } = gemm === index ? ofDy : other;
          return quantize(rotated, {
            rounding: stochastic
              ? { mode: "stochastic", key, firstElement: 0 }
              : { mode: "nearest-even" },
            scale: "floor",
            prescale,
          });
        });
        return multiply(a, b, m, n, k, factor);
      };
      const { dX, dW } = run(recipe, noise);
      expect(dX).toEqual(product(0, [dY, weight], [T, IN, OUT]));
      expect(dW).toEqual(product(1, [xT, dYT], [IN, OUT, T]));
    },
  );

  it.each(["mxfp4-sr", "mxfp4-rht-sr"] as const)(
    "%s is unbiased: the error of the mean falls as 1/√n, without a plateau",
    (recipe) => {
      const errors = errorsOfMeans(recipe, counts);
      for (const gradient of ["dX", "dW"] as const) {
        // If unbiased, error · √n estimates one shot's error from some hundreds of independent
        // directions: equal to a few percent. A bias of 1 % would raise the last by a sixth or more.
        const oneShot = errors.map(
          (error) => error[gradient] * Math.sqrt(error.n),
        );
        expect(oneShot[0]).toBeGreaterThan(0.1);
        expect(oneShot[0]).toBeLessThan(0.6);
        for (const value of oneShot.slice(1)) {
          expect(Math.abs(value / oneShot[0] - 1)).toBeLessThan(0.1);
        }
      }
    },
  );

  it.each(["mxfp4", "mxfp4-rht"] as const)(
    "%s is biased, as nearest rounding is: the test above would see it",
    (recipe) => {
      const errors = errorsOfMeans(recipe, counts);
      for (const gradient of ["dX", "dW"] as const) {
        const oneShot = errors.map(
          (error) => error[gradient] * Math.sqrt(error.n),
        );
        expect(oneShot[2] / oneShot[0]).toBeGreaterThan(1.5);
      }
    },
  );

  it("of EDEN have half the squared error of stochastic rounding", () => {
    const [eden, stochastic] = (
      ["mxfp4-rht-eden", "mxfp4-rht-sr"] as const
    ).map((recipe) => errorsOfMeans(recipe, counts));
    for (const gradient of ["dX", "dW"] as const) {
      const ratio = eden![0]![gradient] / stochastic![0]![gradient];
      expect(ratio ** 2).toBeLessThan(0.55);
    }
  });

  it.each(["mxfp4-rht-pma", "mxfp4-rht-sr-dy", "mxfp4-rht-eden"] as const)(
    "%s is nearly unbiased: its mean comes nearer than nearest rounding's",
    (recipe) => {
      const last = (name: Recipe) => errorsOfMeans(name, [400])[0]!;
      const [own, nearest] = [last(recipe), last("mxfp4-rht")];
      expect(own.dX).toBeLessThan(0.6 * nearest.dX);
      expect(own.dW).toBeLessThan(0.6 * nearest.dW);
    },
  );

  it("rotates both operands of a GEMM by the same signs, so they cancel", () => {
    // With different signs the product would have nothing to do with the exact one.
    for (let seed = 0; seed < 10; seed++) {
      const { dX, dW } = run("mxfp4-rht", { ...NOISE, seed });
      expect(relativeError(dX, exactDx.out)).toBeLessThan(0.3);
      expect(relativeError(dW, exactDw.out)).toBeLessThan(0.3);
    }
  });

  it("spreads outliers: rotation lowers the error", () => {
    const plain = run("mxfp4-sr", NOISE);
    const rotated = run("mxfp4-rht-sr", NOISE);
    expect(relativeError(rotated.dX, exactDx.out)).toBeLessThan(
      relativeError(plain.dX, exactDx.out),
    );
    expect(relativeError(rotated.dW, exactDw.out)).toBeLessThan(
      relativeError(plain.dW, exactDw.out),
    );
  });

  it("draws new signs for each GEMM, layer, linear and step; for dW each microbatch", () => {
    const keys = (gemm: number) =>
      [
        signsKey(NOISE, PLACE, gemm),
        signsKey({ ...NOISE, seed: 2 }, PLACE, gemm),
        signsKey({ ...NOISE, step: 1 }, PLACE, gemm),
        signsKey(NOISE, { ...PLACE, layer: 0 }, gemm),
        signsKey(NOISE, { ...PLACE, index: 3 }, gemm),
      ].map(String);
    const other = { ...NOISE, microbatch: 1 };
    const all = [...keys(0), ...keys(1), String(signsKey(other, PLACE, 1))];
    expect(new Set(all).size).toBe(11);
    expect(signsKey(other, PLACE, 0)).toEqual(signsKey(NOISE, PLACE, 0));
  });

  it("rounds each operand by its own noise; the weight's is shared by a step's microbatches", () => {
    const other = { ...NOISE, microbatch: 1 };
    const all = [0, 1].flatMap((gemm) =>
      [0, 1].flatMap((operand) => [
        operandKey(NOISE, PLACE, gemm, operand),
        operandKey({ ...NOISE, step: 1 }, PLACE, gemm, operand),
        operandKey(NOISE, { ...PLACE, index: 3 }, gemm, operand),
        signsKey(NOISE, PLACE, gemm),
      ]),
    );
    // Four operands with three keys each, and two sign vectors (each listed twice).
    expect(new Set(all.map(String)).size).toBe(14);
    expect(operandKey(other, PLACE, 0, 1)).toEqual(
      operandKey(NOISE, PLACE, 0, 1),
    );
    for (const [gemm, operand] of [
      [0, 0],
      [1, 0],
      [1, 1],
    ]) {
      expect(operandKey(other, PLACE, gemm, operand)).not.toEqual(
        operandKey(NOISE, PLACE, gemm, operand),
      );
    }
  });

  it("gives the same bytes for the same noise, others for another place", () => {
    const first = run("mxfp4-rht-sr", NOISE);
    expect(run("mxfp4-rht-sr", NOISE)).toEqual(first);
    const elsewhere = run("mxfp4-rht-sr", NOISE, dY, { layer: 0, index: 2 });
    expect(elsewhere.dX).not.toEqual(first.dX);
    expect(elsewhere.dW).not.toEqual(first.dW);
  });

  it("lets a NaN or an infinity in dY end in NaN in dX and dW", () => {
    for (const recipe of [
      "mxfp4",
      "mxfp4-rht",
      "mxfp4-sr",
      "mxfp4-rht-sr",
      "mxfp4-rht32-sr",
      "mxfp4-rht128-sr",
      "mxfp4-rht-sr-dy",
      "mxfp4-rht-pma",
      "mxfp4-rht-eden",
    ] as const) {
      for (const corner of [NaN, Infinity]) {
        const broken = dY.slice();
        broken[3 * OUT + 7] = corner; // token 3, feature 7
        const { dX, dW, dB } = run(recipe, NOISE, broken);
        // Token 3's whole row of dX; feature 7's whole column of dW.
        for (const [at, value] of dX.entries()) {
          expect(Number.isNaN(value)).toBe(Math.floor(at / IN) === 3);
        }
        for (const [at, value] of dW.entries()) {
          expect(Number.isNaN(value)).toBe(at % OUT === 7);
        }
        expect(Number.isFinite(dB[7])).toBe(false);
      }
    }
  });
});
