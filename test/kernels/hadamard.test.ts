import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { SEGMENT_LENGTHS } from "../../src/api/scheme.ts";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import * as twin from "../reference/mxfp4.ts";
import { rotate, signs } from "../support/mxfp4.ts";
import { normals } from "../support/random.ts";

/** Rounding error of log2(g) additions and one product, relative to the segment's norm. */
function tolerance(segment: ArrayLike<number>): number {
  const norm = Math.hypot(...Array.from(segment));
  return (Math.log2(segment.length) + 2) * 2 ** -24 * norm;
}

describe.each(SEGMENT_LENGTHS)("g = %i", (g) => {
  const vector = signs(g, noiseKey(5, PURPOSE.fileSigns));

  it("equals H · diag(signs) · x, signs before H", () => {
    for (const segments of [1, 2, 3, 7]) {
      const x = normals(segments * g, segments);
      const want = twin.hadamard(x, g, vector);
      rotate(x, vector).forEach((value, i) => {
        const first = i - (i % g);
        const error = Math.abs(value - want[i]!);
        expect(error).toBeLessThanOrEqual(
          tolerance(x.subarray(first, first + g)),
        );
      });
    }
  });

  it("the inverse gives the input back", () => {
    const x = normals(5 * g, 77);
    rotate(rotate(x, vector), vector, "inverse").forEach((value, i) => {
      const first = i - (i % g);
      expect(Math.abs(value - x[i]!)).toBeLessThanOrEqual(
        2 * tolerance(x.subarray(first, first + g)),
      );
    });
  });

  it("a unit vector in any lane becomes a signed column of H", () => {
    for (let lane = 0; lane < g; lane++) {
      const x = new Float32Array(g);
      x[lane] = 1;
      const norm = Math.fround(1 / Math.sqrt(g));
      rotate(x, vector).forEach((value, i) => {
        const sign = Math.sign(twin.hadamardEntry(i, lane, g)) * vector[lane]!;
        expect(value).toBe(sign * norm);
      });
    }
  });

  it("a NaN or an infinity reaches its whole segment and no other", () => {
    for (const bad of [NaN, Infinity]) {
      const x = normals(3 * g, 78);
      x[g + 3] = bad;
      const got = rotate(x, vector);
      expect(got.subarray(0, g).every(Number.isFinite)).toBe(true);
      expect(got.subarray(g, 2 * g).some(Number.isFinite)).toBe(false);
      expect(got.subarray(2 * g).every(Number.isFinite)).toBe(true);
    }
  });
});

describe("signs", () => {
  it("are ±1, balanced, and other for each seed", () => {
    let sum = 0;
    let same = 0;
    const first = signs(256, noiseKey(0, PURPOSE.fileSigns));
    for (let seed = 1; seed <= 1000; seed++) {
      const vector = signs(256, noiseKey(seed, PURPOSE.fileSigns));
      expect(vector.every((s) => s === 1 || s === -1)).toBe(true);
      sum += vector.reduce((total, s) => total + s, 0);
      same += vector.reduce((total, s, i) => total + s * first[i]!, 0);
    }
    expect(Math.abs(sum)).toBeLessThan(4 * Math.sqrt(256_000));
    expect(Math.abs(same)).toBeLessThan(4 * Math.sqrt(256_000));
  });
});
