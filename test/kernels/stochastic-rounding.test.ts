/** SR and the MXFP4 GEMM against the exact mean and the exact variance (of a product as in src/scripts/gradients/dot-variance.ts). */
import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import * as twin from "../reference/mxfp4.ts";
import {
  dequantize,
  multiply,
  quantize,
  rotate,
  signs,
} from "../support/mxfp4.ts";
import { normals } from "../support/random.ts";

const ALGORITHM_2 = { scale: "floor", prescale: 0.75 } as const;

function stochastic(seed: number, operand: number, input: Float32Array) {
  const key = noiseKey(seed, PURPOSE.gemmRounding, 0, 0, 0, 0, operand, 1);
  return quantize(input, {
    rounding: { mode: "stochastic", key, firstElement: 0 },
    ...ALGORITHM_2,
  });
}

/** Mean and variance of one element's E2M1 value, in units of its scale. */
function moments(x: number, scale: number): { mean: number; variance: number } {
  const mean = (0.75 * x) / scale;
  const magnitude = Math.abs(mean);
  const below = Math.max(...twin.E2M1.filter((value) => value <= magnitude));
  const above = Math.min(...twin.E2M1.filter((value) => value >= magnitude));
  return { mean, variance: (above - magnitude) * (magnitude - below) };
}

describe("stochastic rounding", () => {
  it("all 2^16 noises give a magnitude its exact mean, on the whole dither grid", () => {
    // One block of scale 1 (amax 7.9 → floor 4 → X = 1), the twin of the kernel enumerated fully:
    // every eighth grid point from 0 to 6.
    for (let grid = 0; grid <= 6 * 4096; grid += 8) {
      let sum = 0;
      for (let r = 0; r < 8192; r++)
        sum += twin.E2M1[twin.stochasticCode(grid / 4096, r)]!;
      expect(sum / 8192).toBe(grid / 4096);
    }
  });

  it("the mean over seeds approaches the exact value as 1/√n, to n = 6400", () => {
    const input = normals(4096, 11);
    const exact = input.reduce((sum, x) => sum + x * x, 0);
    const mean = new Float64Array(input.length);
    const errors: number[] = [];
    for (let n = 1; n <= 6400; n++) {
      dequantize(stochastic(n, 0, input), 4 / 3).forEach(
        (value, i) => (mean[i]! += value),
      );
      if (n === 100 || n === 400 || n === 1600 || n === 6400) {
        const error = mean.reduce(
          (sum, value, i) => sum + (value / n - input[i]!) ** 2,
          0,
        );
        errors.push((error / exact) * n);
      }
    }
    // n · relative squared error is the one-shot error (0.0282 for normals) at every n: no plateau.
    // Its own deviation over 4096 elements is about 2.5 %.
    for (const error of errors) expect(error).toBeCloseTo(0.0282, 2);
    expect(Math.max(...errors) / Math.min(...errors)).toBeLessThan(1.1);
  });

  it("an input between grid points is off by at most 2^−13 in the mean", () => {
    const x = 1 + 0.4 / 4096 / 0.75; // 0.4 of a grid step above 0.75
    const input = new Float32Array(32).fill(x);
    input[31] = 7.9; // X = 1
    let sum = 0;
    const n = 200_000;
    for (let seed = 0; seed < n / 31; seed++) {
      const values = dequantize(stochastic(seed, 0, input), 1);
      for (let i = 0; i < 31; i++) sum += values[i]!;
    }
    const mean = sum / (Math.ceil(n / 31) * 31);
    const deviation = 0.25 / Math.sqrt(n); // of a draw between 0.5 and 1 at 0.75
    expect(Math.abs(mean - 0.75 * x)).toBeLessThan(2 ** -13 + 4 * deviation);
  });
});

describe("the MXFP4 GEMM of two Algorithm 2 operands", () => {
  const k = 256;
  const a = normals(k, 21);
  const b = normals(k, 22);
  const exact = twin.gemm(a, b, 1, 1, k)[0]!;

  function draws(n: number): number[] {
    return Array.from({ length: n }, (_, seed) => {
      const product = multiply(
        stochastic(seed, 0, a),
        stochastic(seed, 1, b),
        1,
        1,
        k,
        16 / 9,
      );
      return product[0]!;
    });
  }

  function exactVariance(): number {
    const scaleOf = (x: Float32Array, block: number) =>
      twin.decodeScale(
        twin.scaleByte([...x.subarray(block * 32, block * 32 + 32)], "floor"),
      );
    let variance = 0;
    for (let i = 0; i < k; i++) {
      const block = i >> 5;
      const scaleA = scaleOf(a, block);
      const scaleB = scaleOf(b, block);
      const p = moments(a[i]!, scaleA);
      const q = moments(b[i]!, scaleB);
      const term =
        p.variance * q.variance +
        p.variance * q.mean ** 2 +
        q.variance * p.mean ** 2;
      variance += (16 / 9) ** 2 * (scaleA * scaleB) ** 2 * term;
    }
    return variance;
  }

  it("has the exact mean and the exact variance, within their statistical errors", () => {
    const n = 20_000;
    const sample = draws(n);
    const mean = sample.reduce((sum, x) => sum + x, 0) / n;
    const second =
      sample.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1);
    const fourth = sample.reduce((sum, x) => sum + (x - mean) ** 4, 0) / n;
    const want = exactVariance();
    expect(Math.abs(mean - exact)).toBeLessThan(4 * Math.sqrt(want / n));
    expect(Math.abs(second - want)).toBeLessThan(
      4 * Math.sqrt((fourth - want ** 2) / n),
    );
  });
});

describe("the random Hadamard transform before quantization", () => {
  it("another seed changes the pattern of magnitudes, not only signs", () => {
    const input = normals(64, 31);
    const magnitudes = (seed: number) => {
      const vector = signs(64, noiseKey(seed, PURPOSE.fileSigns));
      const quantized = quantize(rotate(input, vector), {
        rounding: { mode: "nearest-even" },
        scale: "floor",
        prescale: 1,
      });
      return dequantize(quantized, 1).map(Math.abs);
    };
    const first = magnitudes(1);
    const second = magnitudes(2);
    const changed = first.filter((value, i) => value !== second[i]).length;
    expect(changed).toBeGreaterThan(32); // signs after H would change none
  });

  it("lowers the variance of a GEMM with outliers, as the exact formula says", () => {
    const length = 4096;
    const outliers = (seed: number) => {
      const x = normals(length, seed);
      normals(length, seed + 1).forEach(
        (y, i) => (x[i]! += i % 10 === 0 ? 5 * y : 0),
      );
      return x;
    };
    const a = outliers(41);
    const b = outliers(43);
    const exact = twin.gemm(a, b, 1, 1, length)[0]!;
    const errorOf = (rotated: boolean) => {
      let sum = 0;
      for (let seed = 0; seed < 400; seed++) {
        const vector = signs(
          64,
          noiseKey(seed, PURPOSE.gemmSigns, 0, 0, 0, 0, 1),
        );
        const [p, q] = rotated
          ? [rotate(a, vector), rotate(b, vector)]
          : [a, b];
        const product = multiply(
          stochastic(seed, 0, p),
          stochastic(seed, 1, q),
          1,
          1,
          length,
          16 / 9,
        );
        sum += (product[0]! - exact) ** 2;
      }
      return sum / 400;
    };
    // Theirs: 5355 without, 2714 with (std 5, share .10): a ratio of 0.51.
    expect(errorOf(true) / errorOf(false)).toBeLessThan(0.75);
  });
});
