/** The counter hash and the keys: pinned bytes, and the statistics that SR relies on. */
import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { noiseKey, PURPOSE, type NoiseKey } from "../../src/kernels/noise.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import { noise } from "../reference/noise.ts";
import { quantize } from "../support/mxfp4.ts";

function draw(key: NoiseKey, length: number, first = 0): Uint32Array {
  const { arena, exports } = kernels();
  return arena.scope(() => {
    const out = arena.alloc(length * 4);
    exports.fillNoise(out, length, key[0], key[1], first);
    return new Uint32Array(arena.u8(out, length * 4).slice().buffer);
  });
}

/** Σ (observed − expected)² / expected, as deviations of its own distribution. */
function chiSquareZ(counts: ArrayLike<number>, expected: number): number {
  let sum = 0;
  for (let i = 0; i < counts.length; i++)
    sum += (counts[i]! - expected) ** 2 / expected;
  const degrees = counts.length - 1;
  return (sum - degrees) / Math.sqrt(2 * degrees);
}

/** Correlation of two equally long draws' 16-bit halves, in standard errors. */
function correlationZ(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++)
    sum += (a[i]! / 2 ** 31 - 1) * (b[i]! / 2 ** 31 - 1);
  return (3 * sum) / Math.sqrt(a.length); // a uniform on [−1, 1] has variance 1/3
}

const PINNED_HASH = [162504541, 148456911, 2624313190, 2695201056];
const PINNED_KEY = [1068285969, 537932704];
const PINNED_LARGE_KEY = [684090418, 1334367447];
const PINNED_BLOCK = "ffffeeedddbcab891032435455667776";

const LENGTH = 1 << 20;
/** Ten draws a test and a bound of 5 deviations: one false alarm in a million. */
const BOUND = 5;

describe("the bit recipe does not change", () => {
  it("hash values are pinned and equal the twin's", () => {
    expect([...draw([0, 0], 3)]).toEqual([0, 1, 2].map((i) => noise(0, 0, i)));
    const key = noiseKey(2 ** 40 + 3, PURPOSE.gemmRounding, 800, 3, 2, 1, 0, 4);
    expect([...draw(key, 64, 0xfffffff0)]).toEqual(
      Array.from({ length: 64 }, (_, i) =>
        noise(...key, (0xfffffff0 + i) % 2 ** 32),
      ),
    );
    expect([...draw([1, 2], 4)]).toEqual(PINNED_HASH);
  });

  it("keys are pinned", () => {
    expect(noiseKey(0, PURPOSE.tokens, 0, 0)).toEqual(PINNED_KEY);
    expect(noiseKey(2 ** 53 - 1, PURPOSE.wireRounding, 7, 3)).toEqual(
      PINNED_LARGE_KEY,
    );
  });

  it("a stochastically rounded block is pinned", () => {
    const input = Float32Array.from({ length: 32 }, (_, i) => (i - 15.5) / 4);
    const rounding = {
      mode: "stochastic",
      key: noiseKey(42, PURPOSE.fileRounding, 0),
      firstElement: 0,
    } as const;
    const { elements, scales } = quantize(input, {
      rounding,
      scale: "floor",
      prescale: 0.75,
    });
    expect([...scales]).toEqual([126]);
    expect(
      [...elements].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    ).toBe(PINNED_BLOCK);
  });
});

describe("uniformity", () => {
  const seeds = [0, 1, 2, 3, 1234567];

  it.each(seeds)(
    "each of the 32 bits is set half of the time, seed %i",
    (seed) => {
      const words = draw(
        noiseKey(seed, PURPOSE.gemmRounding, 1, 0, 0, 0, 0, 1),
        LENGTH,
      );
      for (let bit = 0; bit < 32; bit++) {
        let ones = 0;
        for (const word of words) ones += (word >>> bit) & 1;
        expect(
          Math.abs(ones - LENGTH / 2) / (Math.sqrt(LENGTH) / 2),
        ).toBeLessThan(BOUND);
      }
    },
  );

  it.each(seeds)(
    "the 13 bits of either half that SR uses are uniform, seed %i",
    (seed) => {
      const words = draw(
        noiseKey(seed, PURPOSE.gemmRounding, 1, 0, 0, 0, 0, 1),
        LENGTH,
      );
      for (const shift of [0, 16]) {
        const counts = new Uint32Array(8192);
        for (const word of words) counts[(word >>> shift) & 8191]!++;
        expect(Math.abs(chiSquareZ(counts, LENGTH / 8192))).toBeLessThan(BOUND);
      }
    },
  );

  it("holds for counters that start anywhere and for small keys", () => {
    for (const [key, first] of [
      [[0, 0], 0],
      [[0, 1], 0],
      [[1, 0], 0],
      [[5, 9], 0x7fff0000],
    ] as [NoiseKey, number][]) {
      const counts = new Uint32Array(256);
      for (const word of draw(key, LENGTH, first)) counts[word >>> 24]!++;
      expect(Math.abs(chiSquareZ(counts, LENGTH / 256))).toBeLessThan(BOUND);
    }
  });
});

describe("independence", () => {
  const key = (seed: number, step: number, operand = 0) =>
    noiseKey(seed, PURPOSE.gemmRounding, step, 0, 0, 0, operand, 1);

  it("along the elements: serial pairs at lags 1 to 64, and the two halves of a word", () => {
    const words = draw(key(1, 1), LENGTH);
    for (const lag of [1, 2, 3, 4, 8, 16, 32, 64]) {
      const z = correlationZ(
        words.subarray(0, LENGTH - lag),
        words.subarray(lag),
      );
      expect(Math.abs(z)).toBeLessThan(BOUND);
    }
    const low = words.map((word) => word << 16);
    expect(Math.abs(correlationZ(words, low))).toBeLessThan(BOUND);
  });

  it("along the elements: neighbouring top bytes fill a 256 × 256 table evenly", () => {
    const words = draw(key(2, 1), 4 * LENGTH);
    const counts = new Uint32Array(65536);
    for (let i = 0; i + 1 < words.length; i += 2) {
      counts[((words[i]! >>> 24) << 8) | (words[i + 1]! >>> 24)]!++;
    }
    expect(Math.abs(chiSquareZ(counts, (2 * LENGTH) / 65536))).toBeLessThan(
      BOUND,
    );
  });

  it("between neighbouring steps, seeds and operands, at the same and at shifted elements", () => {
    const base = draw(key(1, 1), LENGTH);
    for (const other of [
      key(1, 2),
      key(2, 1),
      key(1, 1, 1),
      key(1 + 2 ** 32, 1),
    ]) {
      const words = draw(other, LENGTH);
      for (const lag of [0, 1, 2, 31]) {
        const z = correlationZ(
          base.subarray(0, LENGTH - lag),
          words.subarray(lag),
        );
        expect(Math.abs(z)).toBeLessThan(BOUND);
      }
    }
  });

  it("between seeds at one element: the means over 4,000 seeds stay in place", () => {
    const sums = new Float64Array(64);
    for (let seed = 0; seed < 4000; seed++) {
      draw(key(seed, 1), 64).forEach(
        (word, i) => (sums[i]! += word / 2 ** 31 - 1),
      );
    }
    const deviation = Math.sqrt(4000 / 3);
    for (const sum of sums)
      expect(Math.abs(sum / deviation)).toBeLessThan(BOUND);
  });

  it("no two coordinates share a key: 200,000 keys of a run are all different", () => {
    const keys = new Set<string>();
    let count = 0;
    for (let step = 0; step < 500; step++) {
      for (let layer = 0; layer < 4; layer++) {
        for (let linear = 0; linear < 4; linear++) {
          for (let microbatch = 0; microbatch < 5; microbatch++) {
            for (let operand = 0; operand < 5; operand++) {
              keys.add(
                noiseKey(
                  1,
                  PURPOSE.gemmRounding,
                  step,
                  layer,
                  linear,
                  0,
                  operand,
                  microbatch,
                ).join(),
              );
              count++;
            }
          }
        }
      }
    }
    expect(keys.size).toBe(count);
  });
});
