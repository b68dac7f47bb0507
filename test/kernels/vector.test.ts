import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import { largestBits, largestByte } from "../../src/kernels/statistics.ts";
import {
  adamW,
  add,
  canonicalizeNaN,
  cosine,
  decodeBf16,
  drawNormal,
  encodeBf16,
  encodeBf16Stochastic,
  scale,
  sumSquares,
} from "../../src/kernels/vector.ts";
import * as twin from "../reference/vector.ts";
import { normals } from "../support/random.ts";

const LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 1023];
const CORNERS = [
  0,
  -0,
  1,
  -1,
  NaN,
  Infinity,
  -Infinity,
  2 ** -149,
  -(2 ** -126),
  3.4028234663852886e38,
  3.3895313892515355e38,
  1 + 2 ** -8,
  1 + 3 * 2 ** -8,
  1 + 2 ** -8 + 2 ** -23,
  -(1 + 2 ** -9),
];

/** Runs `body` on copies of `inputs`; gives back what the first of them holds afterwards. */
function onCopies(
  inputs: Float32Array[],
  body: (...pointers: number[]) => void,
): Float32Array {
  const { arena } = kernels();
  return arena.scope(() => {
    const pointers = inputs.map((input) => arena.copyIn(input));
    body(...pointers);
    return arena.f32(pointers[0]!, inputs[0]!.length).slice();
  });
}

function bf16Of(
  x: Float32Array,
  stochasticSeed?: number,
  firstElement = 0,
): Uint16Array {
  const { arena } = kernels();
  return arena.scope(() => {
    const source = arena.copyIn(x);
    const out = arena.alloc(x.length * 2);
    if (stochasticSeed === undefined) encodeBf16(out, source, x.length);
    else {
      const key = noiseKey(stochasticSeed, PURPOSE.wireRounding, 0, 0);
      encodeBf16Stochastic(out, source, x.length, key, firstElement);
    }
    return arena.u16(out, x.length).slice();
  });
}

/** Every corner in every one of 9 lanes. */
function corners(): Float32Array {
  const out = normals(CORNERS.length * 81, 3);
  CORNERS.forEach((corner, c) => {
    for (let lane = 0; lane < 9; lane++) out[c * 81 + lane * 9 + lane] = corner;
  });
  return out;
}

describe.each(LENGTHS)("length %i", (length) => {
  const a = normals(length, 1);
  const b = normals(length, 2);

  it("adds, also into one of its inputs", () => {
    const want = a.map((x, i) => Math.fround(x + b[i]!));
    expect(onCopies([a, b], (x, y) => add(x, x, y, length))).toEqual(want);
    expect(onCopies([b, a], (x, y) => add(x, y, x, length))).toEqual(want);
  });

  it("scales", () => {
    const factor = Math.fround(1 / 3);
    expect(onCopies([a], (x) => scale(x, length, factor))).toEqual(
      a.map((x) => x * factor),
    );
  });

  it("sums squares in f64", () => {
    let got = 0;
    onCopies([a], (x) => (got = sumSquares(x, length)));
    const want = a.reduce((sum, x) => sum + x * x, 0);
    expect(Math.abs(got - want)).toBeLessThanOrEqual(length * 2 ** -53 * want);
  });

  it("applies AdamW as PyTorch does, over several steps", () => {
    const options = {
      learningRate: 3e-3,
      beta1: 0.9,
      beta2: 0.99,
      epsilon: 1e-8,
      weightDecay: 0.1,
      gradientScale: 0.5,
    };
    let want = Array.from(a, (p) => ({ p, m: 0, v: 0 }));
    const zero = new Float32Array(length);
    const got = onCopies([a, zero, zero, b], (p, m, v, gradient) => {
      for (let updates = 1; updates <= 5; updates++) {
        adamW(p, m, v, gradient, length, { updates, ...options });
        want = want.map((state, i) =>
          twin.adamW(state, b[i]!, { updates, ...options }),
        );
      }
    });
    // Each step rounds p about three times, and moves it by at most ~lr with ten roundings.
    got.forEach((value, i) => {
      const bound =
        5 * (3 * Math.abs(want[i]!.p) + 20 * options.learningRate) * 2 ** -24;
      expect(Math.abs(value - want[i]!.p)).toBeLessThanOrEqual(bound);
    });
  });

  it("converts to bf16, nearest even, and back", () => {
    const words = bf16Of(a);
    expect([...words]).toEqual([...a].map(twin.encodeBf16));
    const { arena } = kernels();
    const back = arena.scope(() => {
      const source = arena.copyIn(words);
      const out = arena.allocF32(length);
      decodeBf16(out, source, length);
      return arena.f32(out, length).slice();
    });
    expect([...back]).toEqual([...words].map(twin.decodeBf16));
  });
});

describe("bf16", () => {
  it("corner values are right in every lane", () => {
    const input = corners();
    bf16Of(input).forEach((word, i) =>
      expect(word).toBe(twin.encodeBf16(input[i]!)),
    );
  });

  it("all 65,536 bf16 values come back as they are, NaNs as one NaN", () => {
    const words = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const values = Float32Array.from(words, (word) => twin.decodeBf16(word));
    const want = words.map((word, i) =>
      Number.isNaN(values[i]!) ? 0x7fc0 : word,
    );
    expect(bf16Of(values)).toEqual(want);
    expect(bf16Of(values, 1)).toEqual(want); // stochastic rounding leaves exact values alone
  });

  it("stochastic rounding has the exact mean", () => {
    const input = normals(64, 5);
    const n = 20_000;
    const sums = new Float64Array(64);
    for (let seed = 0; seed < n; seed++) {
      bf16Of(input, seed).forEach(
        (word, i) => (sums[i]! += twin.decodeBf16(word)),
      );
    }
    input.forEach((x, i) => {
      const gap = 2 ** (Math.floor(Math.log2(Math.abs(x))) - 7);
      expect(Math.abs(sums[i]! / n - x)).toBeLessThan(
        (5 * gap) / 2 / Math.sqrt(n),
      );
    });
  });

  it("stochastic rounding gives an element its own noise, whatever comes after", () => {
    const input = new Float32Array(40).fill(1 + 2 ** -8); // up or down by the first bit
    for (let seed = 0; seed < 16; seed++) {
      const whole = bf16Of(input, seed);
      for (let length = 1; length < 40; length++) {
        const part = bf16Of(input.slice(0, length), seed);
        expect(part).toEqual(whole.slice(0, length));
      }
    }
  });

  it("stochastic rounding in pieces equals the whole", () => {
    const input = normals(100, 6);
    const whole = bf16Of(input, 9);
    expect([
      ...bf16Of(input.slice(0, 34), 9),
      ...bf16Of(input.slice(34), 9, 34),
    ]).toEqual([...whole]);
  });
});

describe("special values", () => {
  it("canonicalizeNaN gives every NaN the same bits and leaves the rest", () => {
    const input = Float32Array.from([1, NaN, -0, Infinity]);
    new Uint32Array(input.buffer)[1] = 0xffc12345;
    const got = onCopies([input], (x) => canonicalizeNaN(x, 4));
    expect([...new Uint32Array(got.buffer)]).toEqual([
      0x3f800000, 0x7fc00000, 0x80000000, 0x7f800000,
    ]);
  });

  it("a NaN or an infinity in any lane reaches the sum of squares", () => {
    for (const bad of [NaN, Infinity]) {
      for (let lane = 0; lane < 9; lane++) {
        const input = normals(9, 4);
        input[lane] = bad;
        let sum = 0;
        onCopies([input], (x) => (sum = sumSquares(x, 9)));
        expect(Number.isFinite(sum)).toBe(false);
      }
    }
  });
});

describe("normal draws", () => {
  const draw = (seed: number, length: number, first = 0) =>
    onCopies([new Float32Array(length)], (out) =>
      drawNormal(
        out,
        length,
        1,
        noiseKey(seed, PURPOSE.initialParameters, 0),
        first,
      ),
    );

  it("have the moments of a normal distribution", () => {
    const n = 1 << 20;
    const x = draw(1, n);
    const moment = (power: number) =>
      x.reduce((sum, value) => sum + value ** power, 0) / n;
    expect(Math.abs(moment(1))).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(
      (5 * Math.sqrt(2)) / Math.sqrt(n),
    );
    expect(Math.abs(moment(3))).toBeLessThan(
      (5 * Math.sqrt(15)) / Math.sqrt(n),
    );
    expect(Math.abs(moment(4) - 3)).toBeLessThan(
      (5 * Math.sqrt(96)) / Math.sqrt(n),
    );
  });

  it("are independent of their neighbours, of the same pair and of the next", () => {
    const n = 1 << 18;
    const x = draw(3, n);
    for (const lag of [1, 2, 3]) {
      let sum = 0;
      for (let i = 0; i + lag < n; i++) sum += x[i]! * x[i + lag]!;
      expect(Math.abs(sum / Math.sqrt(n))).toBeLessThan(5);
    }
  });

  it("depend on the element's index alone", () => {
    expect(draw(2, 63, 37)).toEqual(draw(2, 100).slice(37));
  });
});

describe("cosine", () => {
  it("is within two units of the last place", () => {
    for (let x = -10; x < 10; x += 0.01) {
      expect(Math.abs(cosine(x) - Math.cos(x))).toBeLessThanOrEqual(2 ** -52);
    }
  });
});

describe("the largest", () => {
  it("magnitude's bits, infinities above what is finite and NaNs above them", () => {
    const word = new Uint32Array(1);
    const bitsOf = (value: number): number => {
      new Float32Array(word.buffer)[0] = value;
      return word[0]! & 0x7fffffff;
    };
    for (const length of [0, ...LENGTHS]) {
      const x = normals(length, length);
      for (const corner of CORNERS) {
        for (const at of [0, length >> 1, length - 1]) {
          const own = x.slice();
          if (length > 0) own[at] = corner;
          const expected = Math.max(0, ...Array.from(own, bitsOf));
          const { arena } = kernels();
          arena.scope(() =>
            expect(largestBits(arena.copyIn(own), length)).toBe(expected),
          );
        }
      }
    }
  });

  it("byte", () => {
    const { arena } = kernels();
    for (const length of [0, ...LENGTHS]) {
      for (const most of [0, 1, 127, 128, 255]) {
        for (let at = 0; at < Math.min(length, 40); at++) {
          const bytes = new Uint8Array(length).fill(most >> 1);
          bytes[at] = most;
          arena.scope(() =>
            expect(largestByte(arena.copyIn(bytes), length)).toBe(most),
          );
        }
      }
      arena.scope(() => expect(largestByte(arena.alloc(0), 0)).toBe(0));
    }
  });
});
