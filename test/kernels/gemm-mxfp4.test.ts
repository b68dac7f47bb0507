import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import * as twin from "../reference/mxfp4.ts";
import {
  dequantize,
  multiply as multiplyBy,
  quantize,
} from "../support/mxfp4.ts";
import { normals, uniform } from "../support/random.ts";

const NEAREST = {
  rounding: { mode: "nearest-even" },
  scale: "floor",
  prescale: 1,
} as const;

/** The product by both forms of the dot, which have to agree to the bit. */
function multiply(...args: Parameters<typeof multiplyBy>): Float32Array {
  const [a, b, m, n, k, factor] = args;
  const [accumulating, pairwise] = (["accumulating", "pairwise"] as const).map(
    (form) => multiplyBy(a, b, m, n, k, factor, form),
  );
  accumulating!.forEach((value, i) => {
    if (!Object.is(value, pairwise![i])) {
      expect.fail(
        `element ${i}: ${value} by one form, ${pairwise![i]} by the other`,
      );
    }
  });
  return accumulating!;
}

/** Bound on the f32 sum of `blocks` exact block products: blocks · 2^−24 · Σ|block product|. */
function check(
  a: twin.Quantized,
  b: twin.Quantized,
  m: number,
  n: number,
  k: number,
): void {
  const left = Float64Array.from(dequantize(a, 1));
  const right = Float64Array.from(dequantize(b, 1));
  const want = twin.gemm(left, right, m, n, k);
  const magnitude = twin.gemm(left.map(Math.abs), right.map(Math.abs), m, n, k);
  multiply(a, b, m, n, k, 1).forEach((value, i) => {
    const bound = (k / 32) * 2 ** -24 * magnitude[i]! + 2 ** -149;
    expect(Math.abs(value - want[i]!)).toBeLessThanOrEqual(bound);
  });
}

describe("matmulMxfp4", () => {
  it("equals the f64 product of the decoded operands at odd sizes", () => {
    for (const m of [1, 2, 3, 5, 9]) {
      for (const n of [1, 2, 3, 4, 5, 7, 8, 17]) {
        for (const k of [32, 64, 96, 352]) {
          check(
            quantize(normals(m * k, m + k), NEAREST),
            quantize(normals(n * k, n), NEAREST),
            m,
            n,
            k,
          );
        }
      }
    }
  });

  it("multiplies every pair of codes exactly", () => {
    // Row i of a holds code i at every place, row j of b code j: 32 times their product.
    const rows = Uint8Array.from({ length: 16 * 16 }, (_, i) => (i >> 4) * 17);
    const operand = { elements: rows, scales: new Uint8Array(16).fill(127) };
    multiply(operand, operand, 16, 16, 32, 1).forEach((value, index) => {
      const product =
        twin.decodeElement(index >> 4) * twin.decodeElement(index % 16);
      expect(value).toBe(32 * product + 0);
    });
  });

  it("sees each element once: random codes in every position, exact in one block", () => {
    const next = uniform(9);
    const random = () => ({
      elements: Uint8Array.from({ length: 64 * 16 }, () =>
        Math.floor(next() * 256),
      ),
      scales: Uint8Array.from(
        { length: 64 },
        () => 120 + Math.floor(next() * 10),
      ),
    });
    const a = random();
    const b = random();
    const want = twin.gemm(dequantize(a, 1), dequantize(b, 1), 64, 64, 32);
    multiply(a, b, 64, 64, 32, 1).forEach((value, i) =>
      expect(value).toBe(want[i]! + 0),
    );
  });

  it("rounds once for each 64 of k, in order, whether their scales are near or far apart", () => {
    const [m, n, k] = [9, 17, 224];
    for (const spread of [1, 2, 3, 12]) {
      const next = uniform(spread);
      const random = (rows: number) => ({
        elements: Uint8Array.from({ length: (rows * k) / 2 }, () =>
          Math.floor(next() * 256),
        ),
        scales: Uint8Array.from(
          { length: (rows * k) / 32 },
          () => 120 + Math.floor(next() * spread),
        ),
      });
      const [a, b] = [random(m), random(n)];
      const [left, right] = [dequantize(a, 1), dequantize(b, 1)];
      multiply(a, b, m, n, k, 1).forEach((value, index) => {
        const [row, column] = [Math.floor(index / n) * k, (index % n) * k];
        let want = 0;
        for (let group = 0; group < k; group += 64) {
          let sum = 0; // exact in f64
          for (let l = group; l < Math.min(group + 64, k); l++) {
            sum += left[row + l]! * right[column + l]!;
          }
          want = Math.fround(want + Math.fround(sum));
        }
        expect(value).toBe(want + 0);
      });
    }
  });

  it("the largest sums are exact, of either sign, also of doubled integers", () => {
    for (const scales of [
      [120, 120],
      [120, 121],
    ]) {
      for (const code of [0x77, 0xff]) {
        const elements = new Uint8Array(32);
        const b = {
          elements: elements.fill(0x77),
          scales: Uint8Array.from(scales),
        };
        const a = { ...b, elements: new Uint8Array(32).fill(code) };
        const [left, right] = [dequantize(a, 1), dequantize(b, 1)];
        const want = left.reduce((sum, v, i) => sum + v * right[i]!, 0);
        expect(multiply(a, b, 1, 1, 64, 1)[0]).toBe(want);
      }
    }
  });

  it("rows have the same bits however many are multiplied together", () => {
    // 300 rows of 2048 are cut for the cache, in the middle of these ten.
    const [m, n, k] = [300, 9, 2048];
    const a = quantize(normals(m * k, 1), NEAREST);
    const b = quantize(normals(n * k, 2), NEAREST);
    const whole = multiply(a, b, m, n, k, 1);
    const part = {
      elements: a.elements.slice((147 * k) / 2, (157 * k) / 2),
      scales: a.scales.slice((147 * k) / 32, (157 * k) / 32),
    };
    expect(multiply(part, b, 10, n, k, 1)).toEqual(
      whole.slice(147 * n, 157 * n),
    );
  });

  it("applies the factor once, in f32", () => {
    const a = quantize(normals(32, 1), NEAREST);
    const plain = multiply(a, a, 1, 1, 32, 1)[0]!;
    expect(multiply(a, a, 1, 1, 32, 16 / 9)[0]).toBe(
      Math.fround(plain * Math.fround(16 / 9)),
    );
  });

  it("a block of scale 255 makes its row or column NaN and nothing else", () => {
    const a = quantize(normals(5 * 96, 2), NEAREST);
    const b = quantize(normals(6 * 96, 3), NEAREST);
    a.scales[3 * 3 + 1] = 255;
    b.scales[4 * 3 + 2] = 255;
    multiply(a, b, 5, 6, 96, 1).forEach((value, i) => {
      const bad = Math.floor(i / 6) === 3 || i % 6 === 4;
      expect(Number.isNaN(value)).toBe(bad);
    });
  });

  it("a row or column of nothing but scale 255 is NaN, however small the others' scales", () => {
    for (const k of [32, 64]) {
      const small = () =>
        quantize(
          normals(8 * k, 2).map((x) => x * 2 ** -20),
          NEAREST,
        );
      const [plain, bad] = [small(), small()];
      bad.scales.fill(255, (5 * k) / 32, (6 * k) / 32);
      multiply(bad, plain, 8, 8, k, 1).forEach((value, i) =>
        expect(Number.isNaN(value)).toBe(i >> 3 === 5),
      );
      multiply(plain, bad, 8, 8, k, 1).forEach((value, i) =>
        expect(Number.isNaN(value)).toBe(i % 8 === 5),
      );
    }
  });

  it("sums that cancel are zero, at scales whose product is beyond f32 too", () => {
    const b = {
      elements: new Uint8Array(16).fill(0x22),
      scales: new Uint8Array(1),
    };
    const a = { ...b, elements: new Uint8Array(16).fill(0xa2) };
    for (let scale = 0; scale < 253; scale++) {
      b.scales = a.scales = Uint8Array.of(scale);
      expect(multiply(a, b, 1, 1, 32, 1)[0]).toBe(0);
    }
  });

  it("zero blocks give zero, whatever the other operand's scale", () => {
    const zero = { elements: new Uint8Array(16), scales: new Uint8Array(1) };
    const large = {
      elements: new Uint8Array(16).fill(0x77),
      scales: new Uint8Array([252]),
    };
    expect(multiply(zero, large, 1, 1, 32, 1)[0]).toBe(0);
  });

  it("exponent sums saturate instead of wrapping, for every pair of scales", () => {
    const scales = Uint8Array.from({ length: 255 }, (_, i) => i);
    const elements = new Uint8Array(255 * 16);
    for (let row = 0; row < 255; row++) elements[row * 16] = 2; // 1.0, then zeros
    const operand = { elements, scales };
    multiply(operand, operand, 255, 255, 32, 1).forEach((value, i) => {
      const exponent = Math.floor(i / 255) + (i % 255) - 254;
      expect(value).toBe(Math.fround(2 ** exponent));
    });
  });

  it("a group beyond f32 is infinite, whatever the groups before it would take from it", () => {
    const elements = new Uint8Array(64);
    elements[0] = 9; // −0.5, then zeros
    elements[32] = 2; // 1 in the second group, which one rounding at the end would leave at 2^127
    const scales = new Uint8Array(4).fill(254);
    const twos = {
      elements: new Uint8Array(64).fill(0x44),
      scales: new Uint8Array(4).fill(127),
    };
    expect(multiply({ elements, scales }, twos, 1, 1, 128, 1)[0]).toBe(
      Infinity,
    );
  });

  it("exponent sums saturate where two blocks share the smaller scale, too", () => {
    for (const [first, second] of [
      [0, 1],
      [1, 0],
    ]) {
      const scales = Uint8Array.from(
        { length: 2 * 252 },
        (_, i) => (i >> 1) + (i % 2 === 0 ? first! : second!),
      );
      const elements = new Uint8Array(252 * 32);
      for (let i = 0; i < elements.length; i += 16) elements[i] = 6; // 4, then zeros
      for (let row = 0; row < 252; row++) {
        const a = {
          elements: elements.subarray(0, 32),
          scales: scales.subarray(2 * row, 2 * row + 2),
        };
        const partner = 128 - (row % 3) - row; // near the least and the largest sums
        for (const other of [partner, 256 + partner]) {
          if (other < 0 || other > 251) continue;
          const b = { ...a, scales: scales.subarray(2 * other, 2 * other + 2) };
          const want =
            2 ** (a.scales[0]! + b.scales[0]! - 250) +
            2 ** (a.scales[1]! + b.scales[1]! - 250);
          expect(multiply(a, b, 1, 1, 64, 1)[0]).toBe(Math.fround(want));
        }
      }
    }
  });
});
