import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import * as layers from "../support/layers.ts";
import { rotaryAngles, turnsOf } from "../../src/model/llama/rotary-angles.ts";
import * as twin from "../reference/layers.ts";
import { expectClose, F32_EPSILON } from "../support/close.ts";
import { normals } from "../support/random.ts";

const WIDTHS = [1, 2, 3, 5, 7, 8, 15, 17, 33, 63, 65, 128];

function read(pointer: number, length: number): Float32Array {
  return arena.f32(pointer, length).slice();
}

describe("bias", () => {
  it("fills every row forward and sums every row backward", () => {
    for (const columns of WIDTHS) {
      const rows = 5;
      const bias = normals(columns, 1);
      const dOut = normals(rows * columns, 2);
      arena.scope(() => {
        const out = arena.allocF32(rows * columns);
        layers.biasForward(out, arena.copyIn(bias), rows, columns);
        const tiled = Float32Array.from(
          { length: rows * columns },
          (_, at) => bias[at % columns],
        );
        expect(read(out, rows * columns)).toEqual(tiled);

        const dBias = arena.copyIn(bias);
        layers.biasBackward(dBias, arena.copyIn(dOut), rows, columns);
        const want = Float64Array.from(bias, (value, j) => {
          let sum = value;
          for (let row = 0; row < rows; row++) sum += dOut[row * columns + j];
          return sum;
        });
        expectClose(read(dBias, columns), want, rows * 8 * F32_EPSILON);
      });
    }
  });
});

describe("embedding", () => {
  it("adds token and position forward, and gathers repeated tokens backward", () => {
    const tokens = new Int32Array([2, 0, 2, 1, 2, 2]);
    for (const width of WIDTHS) {
      const shape = { sequences: 2, length: 3, width };
      const wte = normals(3 * width, 3);
      const wpe = normals(3 * width, 4);
      const dOut = normals(6 * width, 5);
      const dWte = new Float64Array(3 * width);
      const dWpe = new Float64Array(3 * width);
      const want = Float64Array.from({ length: 6 * width }, (_, at) => {
        const row = Math.floor(at / width);
        const token = tokens[row] * width + (at % width);
        const position = (row % 3) * width + (at % width);
        dWte[token] += dOut[at];
        dWpe[position] += dOut[at];
        return wte[token] + wpe[position];
      });
      arena.scope(() => {
        const ids = arena.copyIn(tokens);
        const out = arena.allocF32(6 * width);
        layers.embeddingForward(
          out,
          ids,
          arena.copyIn(wte),
          arena.copyIn(wpe),
          shape,
        );
        expectClose(read(out, 6 * width), want, 8 * F32_EPSILON);

        const gotWte = arena.allocZeroedF32(3 * width);
        const gotWpe = arena.allocZeroedF32(3 * width);
        layers.embeddingBackward(
          gotWte,
          gotWpe,
          arena.copyIn(dOut),
          ids,
          shape,
        );
        expectClose(read(gotWte, 3 * width), dWte, 64 * F32_EPSILON);
        expectClose(read(gotWpe, 3 * width), dWpe, 64 * F32_EPSILON);
      });
    }
  });
});

describe("RMSNorm", () => {
  const rows = 3;
  const epsilon = 1e-3;

  it.each([0, 5])(
    "equals its twin forward and backward, %d between rows",
    (gap) => {
      for (const width of WIDTHS) {
        const stride = width + gap;
        const x = normals(rows * width, 6).map((value) => 3 * value + 1);
        const weight = normals(width, 7);
        const dOut = normals(rows * width, 9);
        /** Rows apart, with what must stay between them. */
        const spread = (values: ArrayLike<number>) =>
          Float32Array.from({ length: rows * stride }, (_, at) => {
            const [row, j] = [Math.floor(at / stride), at % stride];
            return j < width ? values[row * width + j]! : 7;
          });
        const got = arena.scope(() => {
          const [source, w] = [arena.copyIn(spread(x)), arena.copyIn(weight)];
          const rstd = arena.allocF32(rows);
          const out = arena.copyIn(spread(new Float32Array(x.length)));
          layers.rmsNormForward(
            out,
            rstd,
            source,
            w,
            rows,
            width,
            epsilon,
            stride,
          );
          // Backward passes add: start from 1, to see it.
          const dX = arena.copyIn(spread(new Float32Array(x.length).fill(1)));
          const dWeight = arena.copyIn(new Float32Array(width).fill(1));
          const d = arena.copyIn(spread(dOut));
          layers.rmsNormBackward(
            dX,
            dWeight,
            d,
            source,
            rstd,
            w,
            rows,
            width,
            stride,
          );
          return {
            out: read(out, rows * stride),
            dX: read(dX, rows * stride),
            dWeight: read(dWeight, width),
          };
        });
        const tolerance = 64 * F32_EPSILON * (1 + width / 8);
        const out = twin.rmsNormForward(x, weight, rows, width, epsilon);
        expectClose(got.out, spread(out), tolerance);
        const want = twin.rmsNormBackward(
          dOut,
          x,
          weight,
          rows,
          width,
          epsilon,
        );
        expectClose(got.dX, spread(want.dX.map((d) => d + 1)), tolerance);
        expectClose(
          got.dWeight,
          want.dWeight.map((d) => d + 1),
          tolerance,
        );
      }
    },
  );

  it("is zero of zeros, and lets a NaN spoil its row alone", () => {
    const width = 9;
    const x = normals(rows * width, 3).fill(0, 0, width);
    x[width + 8] = NaN;
    arena.scope(() => {
      const out = arena.allocF32(x.length);
      const weight = arena.copyIn(new Float32Array(width).fill(1));
      const [rstd, source] = [arena.allocF32(rows), arena.copyIn(x)];
      layers.rmsNormForward(out, rstd, source, weight, rows, width, 1e-5);
      const got = read(out, x.length);
      expect(got.subarray(0, width).every((value) => value === 0)).toBe(true);
      expect(got.subarray(width, 2 * width).every(Number.isNaN)).toBe(true);
      expect(got.subarray(2 * width).some(Number.isNaN)).toBe(false);
    });
  });
});

describe("rotary positions", () => {
  const shape = { sequences: 2, length: 7 };
  const base = 100;

  it("equal their twin, and backward turn back, whatever lies between tokens", () => {
    for (const [heads, headWidth] of [
      [1, 2],
      [3, 6],
      [2, 8],
      [1, 34],
    ] as const) {
      const [width, stride] = [heads * headWidth, heads * headWidth + 3];
      const x = normals(14 * stride, headWidth);
      const { turned, back } = arena.scope(() => {
        const turns = turnsOf({ headWidth, ropeBase: base });
        const angles = rotaryAngles(turns, 0, shape.length);
        const at = arena.copyIn(x);
        layers.rotaryForward(at, angles, shape, heads, headWidth, stride);
        const turned = read(at, x.length);
        layers.rotaryBackward(at, angles, shape, heads, headWidth, stride);
        return { turned, back: read(at, x.length) };
      });
      const want = x.slice();
      for (let token = 0; token < 14; token++)
        for (let head = 0; head < heads; head++) {
          const from = token * stride + head * headWidth;
          const own = x.subarray(from, from + headWidth);
          want.set(twin.turned(own, token % shape.length, base), from);
        }
      expectClose(turned, want, 8 * F32_EPSILON);
      // A rotation's transpose is its inverse.
      expectClose(back, x, 16 * F32_EPSILON);
      expect(turned.subarray(width, stride)).toEqual(x.subarray(width, stride));
    }
  });

  it("refuse heads that are no pairs", () => {
    const angles = { cosines: 0, sines: 0 };
    expect(() => layers.rotaryForward(0, angles, shape, 1, 5, 5)).toThrow(
      "Expected `headWidth` to be a multiple of 2, got 5",
    );
  });
});

describe("SwiGLU", () => {
  const rows = 3;

  it("equals its twin and its slopes, in place, where gates are far from 0 too", () => {
    for (const width of WIDTHS) {
      const stride = 2 * width;
      const gateUp = normals(rows * stride, 4).map((value) => 6 * value);
      gateUp[0] = -200;
      gateUp.set([-90, 0, 90].slice(0, width), stride);
      const dOut = normals(rows * width, 5);
      const got = arena.scope(() => {
        const gate = arena.copyIn(gateUp);
        const up = gate + 4 * width;
        const out = arena.allocF32(rows * width);
        layers.swigluForward(out, gate, up, rows, width, stride);
        const value = read(out, rows * width);
        const d = arena.copyIn(dOut);
        layers.swigluBackward(gate, up, d, gate, up, rows, width, stride);
        return { value, slopes: read(gate, rows * stride) };
      });
      const at = (row: number, j: number) => row * stride + j;
      for (let row = 0; row < rows; row++)
        for (let j = 0; j < width; j++) {
          const [g, u] = [gateUp[at(row, j)]!, gateUp[at(row, j) + width]!];
          const d = dOut[row * width + j]!;
          const size = 8 * F32_EPSILON * (1 + Math.abs(g)) * (1 + Math.abs(u));
          const want = twin.swiglu(g, u);
          expectClose([got.value[row * width + j]!], [want], size);
          const slopes = [at(row, j), at(row, j) + width].map(
            (index) => got.slopes[index]!,
          );
          const exact = [d * u * twin.siluSlope(g), d * twin.swiglu(g, 1)];
          expectClose(slopes, exact, size * (1 + Math.abs(d)));
        }
    }
  });

  it("lets a NaN through", () => {
    arena.scope(() => {
      const gate = arena.copyIn(Float32Array.of(NaN, 1, 2, NaN, 1));
      const up = arena.copyIn(Float32Array.of(1, NaN, 2, 1, 1));
      const out = arena.allocF32(5);
      layers.swigluForward(out, gate, up, 1, 5);
      const found = Array.from(read(out, 5), Number.isNaN);
      expect(found).toEqual([true, true, false, true, false]);
    });
  });
});

describe("LayerNorm", () => {
  const rows = 3;

  function run(
    x: Float32Array,
    weight: Float32Array,
    bias: Float32Array,
    dOut: Float32Array,
    width: number,
  ) {
    return arena.scope(() => {
      const source = arena.copyIn(x);
      const w = arena.copyIn(weight);
      const moments = {
        mean: arena.allocF32(rows),
        rstd: arena.allocF32(rows),
      };
      const out = arena.allocF32(x.length);
      const parameters = { weight: w, bias: arena.copyIn(bias) };
      layers.layerNormForward(out, moments, source, parameters, rows, width);
      // Backward passes add: start from 1, to see it.
      const ones = (length: number) =>
        arena.copyIn(new Float32Array(length).fill(1));
      const dX = ones(x.length);
      const gradients = { weight: ones(width), bias: ones(width) };
      layers.layerNormBackward(
        dX,
        gradients,
        arena.copyIn(dOut),
        source,
        moments,
        w,
        rows,
        width,
      );
      return {
        out: read(out, x.length),
        mean: read(moments.mean, rows),
        rstd: read(moments.rstd, rows),
        dX: read(dX, x.length),
        dWeight: read(gradients.weight, width),
        dBias: read(gradients.bias, width),
      };
    });
  }

  it("equals its twin forward and backward at odd widths", () => {
    for (const width of WIDTHS) {
      const x = normals(rows * width, 6).map((value) => 3 * value + 1);
      const weight = normals(width, 7);
      const bias = normals(width, 8);
      const dOut = normals(rows * width, 9);
      const got = run(x, weight, bias, dOut, width);
      const moments = twin.normalize(x, rows, width);
      const want = twin.layerNormBackward(dOut, x, weight, rows, width);
      // rstd reaches 316 at width 1 and multiplies every rounding error.
      const rstd = moments.rstd.reduce((a, b) => Math.max(a, b), 1);
      const tolerance = 64 * rstd * F32_EPSILON * (1 + width / 8);
      expectClose(got.mean, moments.mean, tolerance);
      expectClose(got.rstd, moments.rstd, tolerance * rstd);
      expectClose(
        got.out,
        twin.layerNormForward(x, weight, bias, rows, width),
        tolerance,
      );
      expectClose(
        got.dX,
        want.dX.map((d) => d + 1),
        tolerance * rstd,
      );
      expectClose(
        got.dWeight,
        want.dWeight.map((d) => d + 1),
        tolerance,
      );
      expectClose(
        got.dBias,
        want.dBias.map((d) => d + 1),
        tolerance,
      );
    }
  });

  it("makes a row NaN that holds one, in whatever lane, and no other row", () => {
    for (const width of [1, 3, 8, 11]) {
      for (const corner of [NaN, Infinity]) {
        for (let at = 0; at < width; at++) {
          const x = normals(rows * width, 10);
          x[width + at] = corner;
          const ones = new Float32Array(width).fill(1);
          const dOut = normals(rows * width, 11);
          const { out, dX } = run(x, ones, ones, dOut, width);
          for (const values of [out, dX]) {
            const middle = values.subarray(width, 2 * width);
            expect(middle.every(Number.isNaN)).toBe(true);
            expect(values.subarray(0, width).some(Number.isNaN)).toBe(false);
            expect(values.subarray(2 * width).some(Number.isNaN)).toBe(false);
          }
        }
      }
    }
  });
});

describe("GELU", () => {
  function run(x: Float32Array, dOut: Float32Array) {
    return arena.scope(() => {
      const source = arena.copyIn(x);
      const out = arena.allocF32(x.length);
      layers.geluForward(out, source, x.length);
      const dX = arena.copyIn(dOut);
      layers.geluBackward(dX, dX, source, x.length);
      return { out: read(out, x.length), dX: read(dX, x.length) };
    });
  }

  it("equals its twin from −30 to 30, and so does its slope", () => {
    const x = Float32Array.from({ length: 60_001 }, (_, i) => -30 + i / 1000);
    const ones = new Float32Array(x.length).fill(1);
    const { out, dX } = run(x, ones);
    const tolerance = Float64Array.from(
      x,
      (value) => 8 * F32_EPSILON * Math.max(1, Math.abs(value)),
    );
    expectClose(out, Float64Array.from(x, twin.gelu), tolerance);
    // z′ reaches 8 before σ saturates.
    const slopeTolerance = tolerance.map((value) => 16 * value);
    expectClose(dX, Float64Array.from(x, twin.geluSlope), slopeTolerance);
  });

  it("has its corner values in every lane and in the remainder", () => {
    const corners: [x: number, y: number, slope: number][] = [
      [0, 0, 0.5],
      [-0, -0, 0.5],
      [2 ** -149, 0, 0.5],
      [1e20, Math.fround(1e20), 1],
      [-1e20, 0, 0],
      [3e38, Math.fround(3e38), 1],
      [-3e38, 0, 0],
      [NaN, NaN, NaN],
    ];
    for (const length of [1, 2, 3, 4, 5, 7, 8, 11]) {
      for (let at = 0; at < length; at++) {
        for (const [corner, y, slope] of corners) {
          const x = new Float32Array(length);
          x[at] = corner;
          const { out, dX } = run(x, new Float32Array(length).fill(2));
          const want = new Float64Array(length);
          want[at] = y;
          expectClose(out, want, 2 ** -149);
          const slopes = new Float64Array(length).fill(1);
          slopes[at] = 2 * slope;
          expectClose(dX, slopes, 0);
        }
      }
    }
  });
});

describe("softmax and cross-entropy", () => {
  function run(
    logits: Float32Array,
    targets: Int32Array,
    vocabulary: number,
    gradientScale = 1,
  ) {
    return arena.scope(() => {
      const rows = targets.length;
      const source = arena.copyIn(logits);
      const ids = arena.copyIn(targets);
      const totals = arena.allocF32(rows);
      const lossSum = layers.softmaxCrossEntropyForward(
        totals,
        source,
        ids,
        rows,
        vocabulary,
      );
      layers.softmaxCrossEntropyBackward(
        source,
        source,
        totals,
        ids,
        rows,
        vocabulary,
        gradientScale,
      );
      return { lossSum, dLogits: read(source, logits.length) };
    });
  }

  it("equals its twin at odd vocabularies, and leaves out targets of −1", () => {
    for (const vocabulary of WIDTHS) {
      const targets = Int32Array.from([0, -1, vocabulary - 1, vocabulary >> 1]);
      const logits = normals(4 * vocabulary, 12).map((value) => 4 * value);
      const got = run(logits, targets, vocabulary, 0.25);
      const want = twin.softmaxCrossEntropy(logits, targets, vocabulary);
      // exp of a difference of numbers up to 20, whose rounding is 20 ε.
      const tolerance = 64 * F32_EPSILON;
      expectClose([got.lossSum], [want.lossSum], 4 * tolerance);
      expectClose(
        got.dLogits,
        want.dLogits.map((d) => d / 4),
        tolerance,
      );
      expectClose(
        got.dLogits.subarray(vocabulary, 2 * vocabulary),
        new Float32Array(vocabulary),
        0,
      );
    }
  });

  it("stays exact for logits in the thousands", () => {
    const logits = new Float32Array([5000, 4999, -5000, 5000, 0]);
    const { lossSum } = run(logits, new Int32Array([1]), 5);
    const want = 1 + Math.log(2 + Math.exp(-1));
    expectClose([lossSum], [want], 4 * F32_EPSILON);
  });

  it("gives NaN for a counted row that holds one, in whatever lane", () => {
    for (const vocabulary of [1, 5, 8, 11]) {
      for (const corner of [NaN, Infinity]) {
        for (let at = 0; at < vocabulary; at++) {
          const logits = normals(vocabulary, 13);
          logits[at] = corner;
          const { lossSum, dLogits } = run(
            logits,
            new Int32Array([0]),
            vocabulary,
          );
          expect(lossSum).toBeNaN();
          expect(dLogits.some(Number.isNaN)).toBe(true);
        }
      }
    }
  });
});
