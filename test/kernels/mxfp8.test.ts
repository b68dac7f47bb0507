import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { SCALE_RULES } from "../../src/api/scheme.ts";
import {
  countMxfp8,
  FLOAT8_TYPES,
  quantizeMxfp8,
} from "../../src/kernels/mxfp8.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import * as twin from "../reference/mxfp8.ts";
import { dequantize, quantize } from "../support/mxfp8.ts";
import { normals, uniform } from "../support/random.ts";

const KEY = noiseKey(7, PURPOSE.fileRounding, 0);
const PLAIN = { rounding: { mode: "nearest-even" }, scale: "floor" } as const;
const MAX = { e4m3: 448, e5m2: 57344 };
const EMAX = { e4m3: 8, e5m2: 15 };

/** Values whose rounding or scale is an edge, at scale 1 or alone in their block. */
// prettier-ignore
const CORNERS = [
  0, 1, 1.5, 1.75, 1.875, 1.9375, 2 - 2 ** -23, 1 + 2 ** -23,
  1.75 + 2 ** -23, 1.875 - 2 ** -23, 1.9375 - 2 ** -23,
  448, 449, 464, 464.5, 480, 511.9, 57344, 60000, 61440, 65535,
  2 ** -6, 2 ** -9, 2 ** -10, 2 ** -10 + 2 ** -33, 3 * 2 ** -10,
  2 ** -14, 2 ** -16, 2 ** -17, 2 ** -17 + 2 ** -40, 3 * 2 ** -17,
  2 ** -126, 2 ** -127, 2 ** -149, 1.5 * 2 ** -126, 2 ** 127,
  1.75 * 2 ** 127, 3.4028234663852886e38, Infinity, NaN,
].flatMap((x) => [x, -x]);

/** Blocks with each corner value in each lane, among ordinary values. */
function cornerBlocks(): Float32Array {
  const next = uniform(3);
  const out = Float32Array.from(
    { length: CORNERS.length * 32 * 32 },
    () => next() * 900 - 450,
  );
  CORNERS.forEach((corner, c) => {
    for (let lane = 0; lane < 32; lane++)
      out[(c * 32 + lane) * 32 + lane] = corner;
  });
  return out;
}

/** Blocks of one value each, so that the value sets the scale. */
function uniformBlocks(): Float32Array {
  return Float32Array.from(
    { length: CORNERS.length * 32 },
    (_, i) => CORNERS[i >> 5]!,
  );
}

/**
 * Every finite value of the type, each tie between two, and what lies one f32 beside it, in blocks whose
 * scale is 1: the largest value stands in each.
 */
function grid(type: twin.TwinType): Float32Array {
  const values = twin.magnitudes(type);
  const near = values.flatMap((value, i) => {
    const middle = i === 0 ? value : (value + values[i - 1]!) / 2;
    return [value, middle, middle * (1 + 2 ** -23), middle * (1 - 2 ** -23)];
  });
  const both = near.flatMap((x) => [x, -x]);
  const blocks = Math.ceil(both.length / 31);
  return Float32Array.from({ length: blocks * 32 }, (_, i) =>
    i % 32 === 31 ? MAX[type] : (both[(i >> 5) * 31 + (i % 32)] ?? 0),
  );
}

describe.each(FLOAT8_TYPES)("%s", (type) => {
  const INPUTS: [string, Float32Array][] = [
    ["every value and tie", grid(type)],
    ["corner values in every lane", cornerBlocks()],
    ["blocks of one corner value", uniformBlocks()],
    ["one block", normals(32, 1)],
    ["33 blocks of normals", normals(33 * 32, 2)],
    [
      "values of 2^±120",
      normals(1024, 4).map((x, i) => x * 2 ** ((i >> 5) * 7 - 112)),
    ],
  ];

  describe.each(INPUTS)("%s", (_, input) => {
    describe.each(SCALE_RULES)("scale %s", (scale) => {
      it.each(["even", "away"] as const)(
        "nearest-%s equals the twin",
        (ties) => {
          for (const minScale of [0, 1] as const) {
            const rounding = { mode: `nearest-${ties}` } as const;
            expect(
              quantize(input, type, { rounding, scale, minScale }),
            ).toEqual(
              twin.quantizeMxfp8(input, type, { ties }, scale, minScale),
            );
          }
        },
      );

      if (scale === "mse") return; // refused below
      it("stochastic equals the twin", () => {
        const firstElement = 2 * 12345;
        const rounding = {
          mode: "stochastic",
          key: KEY,
          firstElement,
        } as const;
        const noise = { key: KEY, firstPair: firstElement / 2 };
        for (const minScale of [0, 1] as const) {
          expect(quantize(input, type, { rounding, scale, minScale })).toEqual(
            twin.quantizeMxfp8(input, type, noise, scale, minScale),
          );
        }
      });
    });
  });

  it("decodes all 256 codes at every scale as the twin does", () => {
    const scales = Uint8Array.from({ length: 256 * 8 }, (_, i) => i >> 3);
    const elements = Uint8Array.from({ length: 256 * 256 }, (_, i) => i % 256);
    const got = dequantize({ elements, scales }, type);
    const want = twin.dequantizeMxfp8({ elements, scales }, type);
    got.forEach((value, i) => {
      if (!Object.is(value, want[i])) {
        expect.fail(
          `code ${elements[i]} at scale ${scales[i >> 5]}: expected ${want[i]}, got ${value}`,
        );
      }
    });
  });

  it("gives back every value that it holds, the sign of zero included", () => {
    const values = twin.magnitudes(type).flatMap((x) => [x, -x]);
    for (const exponent of [-100, -3, 0, 90]) {
      const input = Float32Array.from(
        { length: Math.ceil(values.length / 31) * 32 },
        (_, i) =>
          (i % 32 === 31
            ? MAX[type]
            : (values[(i >> 5) * 31 + (i % 32)] ?? 0)) *
          2 ** exponent,
      );
      for (const mode of ["nearest-even", "nearest-away"] as const) {
        const rounding = { mode };
        const got = quantize(input, type, { rounding, scale: "floor" });
        dequantize(got, type).forEach((value, i) => {
          if (!Object.is(value, input[i]))
            expect.fail(`expected ${input[i]}, got ${value}`);
        });
      }
    }
  });

  it("a NaN or an infinity gives its block scale 255 and elements 0", () => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const input = normals(96, 5);
      input[40] = bad;
      for (const rounding of [
        { mode: "nearest-even" },
        { mode: "nearest-away" },
        { mode: "stochastic", key: KEY, firstElement: 0 },
      ] as const) {
        const got = quantize(input, type, { rounding, scale: "floor" });
        expect(got.scales[1]).toBe(255);
        expect(got.elements.subarray(32, 64)).toEqual(new Uint8Array(32));
        const values = dequantize(got, type);
        expect(values.subarray(32, 64).every(Number.isNaN)).toBe(true);
        expect(values.subarray(0, 32).every(Number.isFinite)).toBe(true);
        expect(values.subarray(64).every(Number.isFinite)).toBe(true);
      }
    }
  });

  it("a zero block has scale 0, or the least, and its signs", () => {
    const input = new Float32Array(32);
    input[3] = -0;
    for (const minScale of [0, 1] as const) {
      const got = quantize(input, type, { ...PLAIN, minScale });
      expect(got.scales[0]).toBe(minScale);
      expect(got.elements[3]).toBe(0x80);
      dequantize(got, type).forEach((value, i) =>
        expect(Object.is(value, input[i])).toBe(true),
      );
    }
  });

  it("what floor lets exceed the largest value becomes it", () => {
    const input = new Float32Array(32).fill(1.999 * 2 ** EMAX[type]);
    input[1] = -input[0]!;
    for (const rounding of [
      { mode: "nearest-even" },
      { mode: "nearest-away" },
      { mode: "stochastic", key: KEY, firstElement: 0 },
    ] as const) {
      const got = quantize(input, type, { rounding, scale: "floor" });
      const values = dequantize(got, type);
      expect(values[0]).toBe(MAX[type]);
      expect(values[1]).toBe(-MAX[type]);
    }
  });

  it("counts what was clipped, what became zero and what was lost", () => {
    const input = normals(128, 5).map((x) => x * 2 ** EMAX[type]);
    input[3] = 1.9 * 2 ** (EMAX[type] + 3); // above the largest value of its block
    input[7] = 2 ** -30;
    input[9] = -0;
    input[70] = Infinity;
    const codes = quantize(input, type, PLAIN);
    const values = dequantize(codes, type);
    const clipped = [...input].filter((x, i) => {
      const most = MAX[type] * 2 ** (codes.scales[i >> 5]! - 127);
      return Math.abs(x) > most && Math.abs(values[i]!) === most;
    });
    const zeroed = [...input].filter((x, i) => x !== 0 && values[i] === 0);
    expect(clipped.length).toBeGreaterThan(0);
    expect(zeroed).toEqual([input[7]]);
    const { arena } = kernels();
    const got = arena.scope(() => {
      const inputs = [input, codes.elements, codes.scales].map((array) =>
        arena.copyIn(array),
      ) as [number, number, number];
      return countMxfp8(...inputs, input.length, type);
    });
    expect(got).toEqual({ clipped: clipped.length, zeroed: 1, lost: 32 });
  });

  it("rceil never clips, and no smaller scale would not", () => {
    const input = normals(32 * 2000, 8);
    const { scales } = quantize(input, type, { ...PLAIN, scale: "rceil" });
    scales.forEach((byte, b) => {
      const block = input.subarray(b * 32, b * 32 + 32);
      const amax = Math.max(...block.map(Math.abs)) / 2 ** (byte - 127);
      expect(amax).toBeLessThanOrEqual(MAX[type]);
      expect(amax).toBeGreaterThan(MAX[type] / 2);
    });
  });

  it("mse loses as little as any of all powers of two", () => {
    const grid = twin.magnitudes(type);
    const input = normals(32 * 60, 8).map((x, i) =>
      // Some of many subnormals below a largest value that is just beyond a power of two.
      i < 960 ? x : i % 32 === 5 ? 1.01 * MAX[type] : x * grid[1]! * 0.9,
    );
    const { scales } = quantize(input, type, { ...PLAIN, scale: "mse" });
    const lossOf = (block: Float32Array, scale: number) =>
      [...block].reduce((sum, x) => {
        const v = Math.abs(x) / scale;
        const above = grid.findIndex((value) => value >= v);
        const near =
          above < 0 ? [grid.at(-1)!] : [grid[above]!, grid[above - 1] ?? 0];
        const error = Math.min(...near.map((value) => Math.abs(v - value)));
        return sum + (error * scale) ** 2;
      }, 0);
    scales.forEach((byte, b) => {
      const block = input.subarray(b * 32, b * 32 + 32);
      const losses = Array.from({ length: 16 }, (_, i) =>
        lossOf(block, 2 ** (byte - 8 + i - 127)),
      );
      expect(losses[8]).toBeLessThanOrEqual(
        Math.min(...losses) * (1 + 2 ** -18),
      );
    });
  });

  it("all 2^16 noises give a magnitude its exact mean", () => {
    const values = twin.magnitudes(type);
    // Of the subnormals, of a binade in the middle, and of the last.
    for (const code of [0, 64, values.length - 2]) {
      const step = values[code + 1]! - values[code]!;
      for (const part of [0, 64, 32768, 65472]) {
        const v = values[code]! + (step * part) / 65536;
        let up = 0;
        for (let r = 0; r < 65536; r++)
          up += twin.stochasticCode(v, type, r) - code;
        expect(up).toBe(part);
      }
    }
  });

  it("the mean over seeds approaches the values as fast as its exact variance says", () => {
    const input = normals(4096, 11);
    const grid = twin.magnitudes(type);
    const mean = new Float64Array(input.length);
    const n = 400;
    const { scales } = quantize(input, type, { ...PLAIN, scale: "rceil" });
    for (let seed = 0; seed < n; seed++) {
      const key = noiseKey(seed, PURPOSE.fileRounding, 0);
      const rounding = { mode: "stochastic", key, firstElement: 0 } as const;
      const got = quantize(input, type, { rounding, scale: "rceil" });
      dequantize(got, type).forEach((value, i) => (mean[i]! += value / n));
    }
    let [error, variance] = [0, 0];
    input.forEach((x, i) => {
      const scale = 2 ** (scales[i >> 5]! - 127);
      const v = Math.abs(x) / scale;
      const above = grid.find((value) => value >= v)!;
      const below = grid.findLast((value) => value <= v)!;
      variance += (above - v) * (v - below) * scale ** 2;
      error += (mean[i]! - x) ** 2;
    });
    // 4096 squares of nearly normal draws, the largest of which count most: a deviation of 3 %.
    expect((error * n) / variance).toBeCloseTo(1, 0.9);
  });

  it("stochastic rounding in pieces equals the whole", () => {
    const input = normals(32 * 40, 9);
    const rounding = { mode: "stochastic", key: KEY, firstElement: 0 } as const;
    const whole = quantize(input, type, { rounding, scale: "rceil" });
    for (const cut of [32, 96, 32 * 21]) {
      const pieces = [input.slice(0, cut), input.slice(cut)].map((piece, i) =>
        quantize(piece, type, {
          rounding: { ...rounding, firstElement: i * cut },
          scale: "rceil",
        }),
      );
      expect(Uint8Array.from(pieces.flatMap((p) => [...p.elements]))).toEqual(
        whole.elements,
      );
    }
  });
});

describe("refusals", () => {
  it("a length that is not whole blocks", () => {
    expect(() => quantizeMxfp8(0, 0, 64, 33, "e4m3", PLAIN)).toThrow(
      "Expected `length` to be a multiple of 32, got 33",
    );
  });

  it("squares of what is rounded stochastically", () => {
    const rounding = { mode: "stochastic", key: KEY, firstElement: 0 } as const;
    expect(() =>
      quantizeMxfp8(0, 0, 64, 32, "e4m3", { rounding, scale: "mse" }),
    ).toThrow("Expected a rounding to nearest for scale mse, got stochastic");
  });

  it("a misaligned input", () => {
    expect(() => quantizeMxfp8(0, 0, 68, 32, "e4m3", PLAIN)).toThrow(
      "Expected `input` to be 16-byte aligned, got address 68",
    );
  });

  it("a tensor beyond the counter's 2^33 elements", () => {
    const rounding = {
      mode: "stochastic",
      key: KEY,
      firstElement: 2 ** 33,
    } as const;
    expect(() =>
      quantizeMxfp8(0, 0, 64, 32, "e4m3", { ...PLAIN, rounding }),
    ).toThrow("Expected fewer than 2^33 elements");
  });
});
