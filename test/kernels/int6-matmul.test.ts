import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { matmulInt6, packInt6 } from "../../src/kernels/int6-matmul.ts";
import { byColumns, byRows } from "../../src/kernels/matmul.ts";
import { transpose } from "../reference/matmul.ts";
import { normals } from "../support/random.ts";

const { fround } = Math;

type Sizes = { m: number; n: number; k: number };

/** bias + a · bᵀ by both forms of the dot, from operands by rows and by columns: to the bit the same. */
function multiply(
  a: Float32Array,
  b: Float32Array,
  bias: Float32Array,
  { m, n, k }: Sizes,
): Float32Array {
  const results = (["rows", "columns"] as const).flatMap((layout) =>
    (["accumulating", "pairwise"] as const).map((form) =>
      arena.scope(() => {
        const operand = (x: Float32Array, rows: number) =>
          layout === "rows"
            ? byRows(arena.copyIn(x), k)
            : byColumns(arena.copyIn(transpose(x, rows, k)), rows);
        const left = packInt6("a", operand(a, m), m, k);
        const right = packInt6("b", operand(b, n), n, k);
        const out = arena.copyIn(new Float32Array(m * n).fill(7));
        matmulInt6(out, left, right, arena.copyIn(bias), m, n, k, form);
        return arena.f32(out, m * n).slice();
      }),
    ),
  );
  const [first] = results;
  for (const other of results) {
    const at = first!.findIndex((value, i) => !Object.is(value, other[i]));
    if (at >= 0) expect.fail(`element ${at}: ${first![at]} and ${other[at]}`);
  }
  return first!;
}

/** The nearest whole number, ties to even. */
function nearest(x: number): number {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}

/** One group of 64: integers and their scale, each operation rounded to f32. */
function quantizeGroup(x: Float32Array): { integers: number[]; scale: number } {
  const top = Math.max(...x.map(Math.abs));
  const factor = fround(31 / top);
  return {
    integers: Array.from(x, (value) =>
      top === 0 ? 0 : nearest(fround(value * factor)),
    ),
    scale: fround(top / 31),
  };
}

function twin(
  a: Float32Array,
  b: Float32Array,
  bias: Float32Array,
  { m, n, k }: Sizes,
): Float32Array {
  const groups = (x: Float32Array, rows: number) =>
    Array.from({ length: (rows * k) / 64 }, (_, i) =>
      quantizeGroup(x.subarray(64 * i, 64 * i + 64)),
    );
  const [left, right] = [groups(a, m), groups(b, n)];
  return Float32Array.from({ length: m * n }, (_, at) => {
    const [row, column] = [Math.floor(at / n), at % n];
    let sum = bias[column]!;
    for (let group = 0; group < k / 64; group++) {
      const x = left[(row * k) / 64 + group]!;
      const y = right[(column * k) / 64 + group]!;
      const dot = x.integers.reduce((s, v, i) => s + v * y.integers[i]!, 0);
      sum = fround(sum + fround(dot * fround(x.scale * y.scale)));
    }
    return sum;
  });
}

describe("matmulInt6", () => {
  it("equals its twin to the bit, from rows and from columns", () => {
    // Adjacent rows are packed 256 at a time.
    for (const m of [1, 3, 4, 18, 260]) {
      for (const n of [8, 24]) {
        for (const k of [64, 192]) {
          const [a, b] = [normals(m * k, m + k), normals(n * k, n)];
          for (let at = 3; at < a.length; at += 89) a[at] *= 30;
          a.fill(0, 0, 64);
          const bias = normals(n, 5);
          const sizes = { m, n, k };
          expect(multiply(a, b, bias, sizes)).toEqual(twin(a, b, bias, sizes));
        }
      }
    }
  });

  it("equals its twin where values lie as near to ties as f32 can", () => {
    const sizes = { m: 64, n: 8, k: 64 };
    const b = normals(8 * 64, 2);
    for (const power of [1, 2 ** -122]) {
      const tops = normals(64, 1).map((x) => (1 + Math.abs(x)) * power);
      const a = Float32Array.from({ length: 64 * 64 }, (_, i) => {
        const sign = i % 64 < 32 ? 1 : -1;
        const part = i % 64 === 0 ? 1 : ((i % 32) - 0.5) / 31;
        return sign * part * tops[i >> 6]!;
      });
      const bias = new Float32Array(8);
      expect(multiply(a, b, bias, sizes)).toEqual(twin(a, b, bias, sizes));
    }
  });

  it("is 29 dB from the exact product of normal draws", () => {
    const sizes = { m: 32, n: 32, k: 512 };
    const [a, b] = [normals(32 * 512, 1), normals(32 * 512, 2)];
    const got = multiply(a, b, new Float32Array(32), sizes);
    let [power, error] = [0, 0];
    got.forEach((value, at) => {
      const [row, column] = [Math.floor(at / 32), at % 32];
      let want = 0;
      for (let i = 0; i < 512; i++) {
        want += a[row * 512 + i]! * b[column * 512 + i]!;
      }
      power += want ** 2;
      error += (value - want) ** 2;
    });
    expect(10 * Math.log10(power / error)).toBeGreaterThan(28.8);
  });

  it("the largest sums do not wrap, of either sign", () => {
    const sizes = { m: 1, n: 8, k: 64 };
    const b = new Float32Array(8 * 64).fill(31);
    for (const sign of [1, -1]) {
      const a = new Float32Array(64).fill(31 * sign);
      const got = multiply(a, b, new Float32Array(8), sizes);
      expect(got).toEqual(new Float32Array(8).fill(sign * 64 * 31 * 31));
    }
  });

  it("rows have the same bits however many are multiplied together", () => {
    // 180 rows of 2048 are cut for the cache, in the middle of these ten.
    const [m, n, k] = [180, 8, 2048];
    const [a, b, bias] = [normals(m * k, 1), normals(n * k, 2), normals(n, 3)];
    const whole = multiply(a, b, bias, { m, n, k });
    const part = a.subarray(163 * k, 173 * k);
    expect(multiply(part, b, bias, { m: 10, n, k })).toEqual(
      whole.slice(163 * n, 173 * n),
    );
  });

  it("a group with a NaN or an infinity makes its row or column NaN and nothing else", () => {
    const sizes = { m: 5, n: 8, k: 128 };
    for (const bad of [NaN, Infinity, -Infinity]) {
      const [a, b] = [normals(5 * 128, 1), normals(8 * 128, 2)];
      a[2 * 128 + 70] = bad;
      b[6 * 128 + 1] = bad;
      multiply(a, b, new Float32Array(8), sizes).forEach((value, at) => {
        const isBad = Math.floor(at / 8) === 2 || at % 8 === 6;
        expect(Number.isNaN(value)).toBe(isBad);
      });
    }
  });

  it("values too small for a scale count as zero", () => {
    const sizes = { m: 1, n: 8, k: 64 };
    const a = new Float32Array(64).fill(2 ** -140);
    const b = new Float32Array(8 * 64).fill(1);
    const bias = normals(8, 3);
    expect(multiply(a, b, bias, sizes)).toEqual(bias);
  });

  it("refuses sizes that are not whole groups and tiles", () => {
    const pack = (k: number) =>
      arena.scope(() => packInt6("a", byRows(arena.allocF32(k), k), 1, k));
    expect(() => pack(96)).toThrow(
      "Expected `k` to be a multiple of 64, got 96",
    );
    const apart = { source: 64, rowStride: 2, kStride: 4 };
    expect(() => packInt6("a", apart, 4, 64)).toThrow(
      "Expected one stride to be 1, got rows 2 and k 4 apart",
    );
    expect(() => matmulInt6(0, 0, 0, 0, 1, 12, 64)).toThrow(
      "Expected `n` to be a multiple of 8, got 12",
    );
  });
});
