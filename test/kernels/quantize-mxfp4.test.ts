import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { SCALE_RULES } from "../../src/api/scheme.ts";
import { quantizeMxfp4 } from "../../src/kernels/mxfp4.ts";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import * as twin from "../reference/mxfp4.ts";
import { dequantize, quantize } from "../support/mxfp4.ts";
import { normals, uniform } from "../support/random.ts";

const PRESCALES = [1, 0.75] as const;
const KEY = noiseKey(7, PURPOSE.fileRounding, 0);

const CORNERS = [
  0,
  -0,
  1,
  -1,
  0.25,
  0.75,
  1.25,
  1.75,
  2.5,
  3.5,
  5,
  6,
  7,
  7.99,
  8,
  -0.25,
  -2.5,
  -5,
  -7.99,
  Infinity,
  -Infinity,
  NaN,
  2 ** -149,
  -(2 ** -149),
  2 ** -126,
  2 ** -127,
  1.5 * 2 ** -126,
  3.4028234663852886e38,
  -3.4028234663852886e38,
  2 ** 127,
  1.5 * 2 ** 127,
  1.75 * 2 ** 126,
  // Just past where the scale rules step up, and just before.
  1 + 2 ** -23,
  1.5,
  1.5 + 2 ** -23,
  1.75 - 2 ** -23,
];

/** Blocks with each corner value in each lane, among ordinary values. */
function cornerBlocks(): Float32Array {
  const next = uniform(3);
  const out = new Float32Array(CORNERS.length * 32 * 32);
  out.forEach((_, i) => (out[i] = next() * 4 - 2));
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

/** Blocks whose largest value stands alone above others that fill the steps of the scale below. */
function steepBlocks(): Float32Array {
  const next = uniform(12);
  return Float32Array.from({ length: 32 * 400 }, (_, i) =>
    i % 32 === 7
      ? 3 + next() * 3
      : (0.25 + 0.1 * next()) * (next() < 0.5 ? -1 : 1),
  );
}

/** Squared, in f64. */
function lossOf(block: number[], scale: number, prescale: number): number {
  let sum = 0;
  for (const x of block) {
    const v = Math.abs(x * prescale);
    const code = twin.nearestCode(v / scale, "even");
    sum += (v - twin.E2M1[code]! * scale) ** 2;
  }
  return sum;
}

const INPUTS: [string, Float32Array][] = [
  ["corner values in every lane", cornerBlocks()],
  ["blocks of one corner value", uniformBlocks()],
  ["largest values that stand alone", steepBlocks()],
  ["one block", normals(32, 1)],
  ["33 blocks of normals", normals(33 * 32, 2)],
  [
    "values of 2^±120",
    normals(1024, 4).map((x, i) => x * 2 ** ((i >> 5) * 7 - 112)),
  ],
];

describe.each(INPUTS)("%s", (_, input) => {
  describe.each(SCALE_RULES)("scale %s", (scale) => {
    it.each(PRESCALES)("nearest equals the twin, prescale %s", (prescale) => {
      for (const ties of ["even", "away", "zero"] as const) {
        const mode = `nearest-${ties}` as const;
        for (const minScale of [0, 1] as const) {
          const got = quantize(input, {
            rounding: { mode },
            scale,
            prescale,
            minScale,
          });
          expect(got).toEqual(
            twin.quantizeMxfp4(input, { ties }, scale, prescale, minScale),
          );
        }
      }
    });

    if (scale === "mse") return; // refused below
    it.each(PRESCALES)(
      "stochastic equals the twin, prescale %s",
      (prescale) => {
        const firstElement = 2 * 12345;
        const rounding = {
          mode: "stochastic",
          key: KEY,
          firstElement,
        } as const;
        const noise = { key: KEY, firstPair: firstElement / 2 };
        for (const minScale of [0, 1] as const) {
          const got = quantize(input, { rounding, scale, prescale, minScale });
          expect(got).toEqual(
            twin.quantizeMxfp4(input, noise, scale, prescale, minScale),
          );
        }
      },
    );
  });
});

describe("scales", () => {
  it("a block with a NaN or an infinity has scale 255, elements 0, and decodes to NaN", () => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const input = normals(64, 5);
      input[40] = bad;
      for (const mode of ["nearest-even", "nearest-away"] as const) {
        const got = quantize(input, {
          rounding: { mode },
          scale: "floor",
          prescale: 1,
        });
        expect(got.scales[1]).toBe(255);
        expect(got.elements.subarray(16)).toEqual(new Uint8Array(16));
        const values = dequantize(got, 1);
        expect(values.subarray(0, 32).every(Number.isFinite)).toBe(true);
        expect(values.subarray(32).every(Number.isNaN)).toBe(true);
      }
    }
  });

  it("a zero block has scale 0 and decodes to zero", () => {
    const got = quantize(new Float32Array(32), {
      rounding: { mode: "nearest-even" },
      scale: "floor",
      prescale: 1,
    });
    expect(got).toEqual({
      elements: new Uint8Array(16),
      scales: new Uint8Array(1),
    });
    expect(dequantize(got, 1)).toEqual(new Float32Array(32));
  });

  it("the exponent comes from bits: just below a power of two it is the lower one", () => {
    for (let exponent = -120; exponent < 127; exponent++) {
      const below = Math.fround(2 ** exponent * (1 - 2 ** -24));
      const block = new Float32Array(32).fill(below);
      const got = quantize(block, {
        rounding: { mode: "nearest-even" },
        scale: "floor",
        prescale: 1,
      });
      expect(got.scales[0]).toBe(exponent - 1 - 2 + 127);
    }
  });

  it("mse loses as little as any of all powers of two", () => {
    const inputs = [normals(32 * 300, 8), cornerBlocks(), steepBlocks()];
    for (const input of inputs) {
      for (const prescale of PRESCALES) {
        const rounding = { mode: "nearest-even" } as const;
        const got = quantize(input, { rounding, scale: "mse", prescale });
        got.scales.forEach((byte, b) => {
          const block = [...input.subarray(b * 32, b * 32 + 32)];
          if (byte === 255) return;
          const losses = Array.from({ length: 255 }, (_, each) =>
            lossOf(block, twin.decodeScale(each), prescale),
          );
          const least = Math.min(...losses);
          if (losses[byte]! > least * (1 + 2 ** -18))
            expect.fail(`block ${b}: byte ${byte}, ${losses[byte]} > ${least}`);
        });
      }
    }
  });

  it("mse takes the higher of two that lose the same, at which nothing clips", () => {
    const input = new Float32Array(64);
    input[5] = 6.5; // 6 at scales 1 and 2
    input.fill(6.5, 32);
    input[40] = 5; // 4 or 6 at scale 1, 6 at scale 2, of a tie
    const rounding = { mode: "nearest-even" } as const;
    const got = quantize(input, { rounding, scale: "mse", prescale: 1 });
    expect([...got.scales]).toEqual([128, 128]);
  });

  it("rceil never clips: the scaled amax is at most 6", () => {
    const input = normals(32 * 2000, 8);
    const got = quantize(input, {
      rounding: { mode: "nearest-even" },
      scale: "rceil",
      prescale: 1,
    });
    for (let b = 0; b < 2000; b++) {
      const block = input.subarray(b * 32, b * 32 + 32);
      const amax = Math.max(...block.map(Math.abs));
      const scale = twin.decodeScale(got.scales[b]!);
      expect(amax / scale).toBeLessThanOrEqual(6);
      expect(amax / scale).toBeGreaterThan(3);
    }
  });
});

describe("dequantize", () => {
  it("equals the twin for every code at every position with every scale", () => {
    const scales = Uint8Array.from({ length: 256 * 16 }, (_, i) => i >> 4);
    const elements = Uint8Array.from({ length: scales.length * 16 }, (_, i) => {
      const shift = (i >> 4) % 16; // each block starts at another code
      const low = (2 * (i % 16) + shift) % 16;
      return low | (((low + 1) % 16) << 4);
    });
    for (const factor of [1, 4 / 3]) {
      const got = dequantize({ elements, scales }, factor);
      const want = twin.dequantizeMxfp4({ elements, scales }, factor);
      got.forEach((value, i) => {
        if (!Object.is(value, want[i])) {
          expect.fail(`element ${i}: expected ${want[i]}, got ${value}`);
        }
      });
    }
  });

  it("gives back what E2M1 holds exactly, the sign of zero included", () => {
    const values = [...twin.E2M1, ...twin.E2M1.map((x) => -x)];
    const input = Float32Array.from([...values, ...values.toReversed()]);
    const got = quantize(input, {
      rounding: { mode: "nearest-even" },
      scale: "floor",
      prescale: 1,
    });
    dequantize(got, 1).forEach((value, i) =>
      expect(Object.is(value, input[i])).toBe(true),
    );
  });
});

describe("bytes do not depend on how a tensor is cut", () => {
  it("stochastic rounding in pieces equals the whole", () => {
    const input = normals(32 * 40, 9);
    const options = { scale: "floor", prescale: 0.75 } as const;
    const rounding = { mode: "stochastic", key: KEY, firstElement: 0 } as const;
    const whole = quantize(input, { rounding, ...options });
    for (const cut of [32, 96, 32 * 21]) {
      const pieces = [input.slice(0, cut), input.slice(cut)].map((piece, i) =>
        quantize(piece, {
          rounding: { ...rounding, firstElement: i * cut },
          ...options,
        }),
      );
      expect(Uint8Array.from(pieces.flatMap((p) => [...p.elements]))).toEqual(
        whole.elements,
      );
      expect(Uint8Array.from(pieces.flatMap((p) => [...p.scales]))).toEqual(
        whole.scales,
      );
    }
  });
});

describe("refusals", () => {
  const nearest = {
    rounding: { mode: "nearest-even" },
    scale: "floor",
    prescale: 1,
  } as const;

  it("a length that is not whole blocks: says what was expected and what came", () => {
    expect(() => quantizeMxfp4(0, 0, 64, 33, nearest)).toThrow(
      "Expected `length` to be a multiple of 32, got 33",
    );
  });

  it("squares of what is rounded stochastically", () => {
    const rounding = { mode: "stochastic", key: KEY, firstElement: 0 } as const;
    expect(() =>
      quantizeMxfp4(0, 0, 64, 32, { rounding, scale: "mse", prescale: 1 }),
    ).toThrow("Expected a rounding to nearest for scale mse, got stochastic");
  });

  it("a misaligned input", () => {
    expect(() => quantizeMxfp4(0, 0, 68, 32, nearest)).toThrow(
      "Expected `input` to be 16-byte aligned, got address 68",
    );
  });

  it("a tensor beyond the counter's 2^33 elements", () => {
    const rounding = {
      mode: "stochastic",
      key: KEY,
      firstElement: 2 ** 33,
    } as const;
    expect(() => quantizeMxfp4(0, 0, 64, 32, { ...nearest, rounding })).toThrow(
      "Expected fewer than 2^33 elements",
    );
  });
});
