import { arena, exports } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import {
  byColumns,
  byRows,
  fingerprint,
  matmul,
  transpose,
  type MatmulOptions,
} from "../../src/kernels/matmul.ts";
import * as twin from "../reference/matmul.ts";
import { expectClose, F32_EPSILON } from "../support/close.ts";
import { normals } from "../support/random.ts";

const SIZES = [1, 2, 3, 5, 7, 8, 15, 17, 33, 65];

type Layout = "rows" | "columns";

/** a [m, k] · b [n, k]ᵀ by the kernels, operands stored as the layouts say. */
function multiply(
  a: Float32Array,
  b: Float32Array,
  m: number,
  n: number,
  k: number,
  options: Omit<MatmulOptions, "bias"> & {
    bias?: Float32Array;
    aLayout?: Layout;
    bLayout?: Layout;
    initial?: Float32Array;
  } = {},
): Float32Array {
  const { aLayout = "rows", bLayout = "rows", initial } = options;
  const place = (x: Float32Array, rows: number, layout: Layout) =>
    layout === "rows"
      ? byRows(arena.copyIn(x), k)
      : byColumns(arena.copyIn(twin.transpose(x, rows, k)), rows);
  return arena.scope(() => {
    const out = arena.copyIn(initial ?? new Float32Array(m * n).fill(NaN));
    const left = place(a, m, aLayout);
    const right = place(b, n, bLayout);
    const bias = options.bias && arena.copyIn(options.bias);
    matmul(out, left, right, m, n, k, { ...options, bias });
    return arena.f32(out, m * n).slice();
  });
}

/** k roundings of products and k of sums, each at most half a ulp of Σ|a||b|. */
function tolerance(magnitude: Float64Array, k: number): Float64Array {
  return magnitude.map((sum) => 2 * (k + 1) * F32_EPSILON * sum);
}

describe("f32 GEMM", () => {
  it("equals its twin at every combination of odd sizes and layouts", () => {
    for (const m of SIZES) {
      for (const n of SIZES) {
        for (const k of [1, 3, 4, 33]) {
          const a = normals(m * k, m + 100 * k);
          const b = normals(n * k, n + 77 * k);
          const { out, magnitude } = twin.matmul(a, b, m, n, k);
          for (const aLayout of ["rows", "columns"] as const) {
            for (const bLayout of ["rows", "columns"] as const) {
              const got = multiply(a, b, m, n, k, { aLayout, bLayout });
              expectClose(got, out, tolerance(magnitude, k));
            }
          }
        }
      }
    }
  });

  it("gives the same bits by taller tiles and from a bias, at every odd size", () => {
    for (const m of [...SIZES, 130, 135]) {
      for (const n of SIZES) {
        for (const k of [1, 33, 513]) {
          const a = normals(m * k, m + 100 * k);
          const b = normals(n * k, n + 77 * k);
          const bias = normals(n, 4);
          const rowsOfBias = Float32Array.from(
            { length: m * n },
            (_, at) => bias[at % n]!,
          );
          const results = [
            {},
            { accumulate: true, initial: normals(m * n, 3) },
            { accumulate: true, initial: rowsOfBias },
            { bias },
          ].map((options) => {
            const byTiles = multiply(a, b, m, n, k, options);
            exports.useWideVectors(1);
            const byTallTiles = multiply(a, b, m, n, k, options);
            exports.useWideVectors(0);
            expect(byTallTiles).toEqual(byTiles);
            return byTiles;
          });
          // Rows that start from a bias are what adds to rows of it.
          expect(results[3]).toEqual(results[2]);
        }
      }
    }
  });

  it("gives the same bits whatever the layout of its operands", () => {
    const [m, n, k] = [13, 21, 70];
    const a = normals(m * k, 1);
    const b = normals(n * k, 2);
    const byRow = multiply(a, b, m, n, k);
    const byColumn = multiply(a, b, m, n, k, {
      aLayout: "columns",
      bLayout: "columns",
    });
    expect(byColumn).toEqual(byRow);
  });

  it("sums in order of k, so blocks of k and of rows leave no trace", () => {
    // More than one block along m (128) and k (512), and odd ends of both.
    const [m, n, k] = [261, 9, 1061];
    const a = normals(m * k, 3);
    const b = normals(n * k, 4);
    const whole = multiply(a, b, m, n, k);
    const { out, magnitude } = twin.matmul(a, b, m, n, k);
    expectClose(whole, out, tolerance(magnitude, k));

    const columns = (x: Float32Array, rows: number, from: number, to: number) =>
      Float32Array.from(
        { length: rows * (to - from) },
        (_, at) =>
          x[Math.floor(at / (to - from)) * k + from + (at % (to - from))],
      );
    const first = multiply(
      columns(a, m, 0, 300),
      columns(b, n, 0, 300),
      m,
      n,
      300,
    );
    const both = multiply(
      columns(a, m, 300, k),
      columns(b, n, 300, k),
      m,
      n,
      k - 300,
      { accumulate: true, initial: first },
    );
    expect(both).toEqual(whole);
  });

  it("adds to what is there when asked to", () => {
    for (const [m, n, k] of [
      [4, 8, 5],
      [7, 19, 12],
    ]) {
      const a = normals(m * k, 5);
      const b = normals(n * k, 6);
      const initial = normals(m * n, 7);
      const { out, magnitude } = twin.matmul(a, b, m, n, k, initial);
      const got = multiply(a, b, m, n, k, { accumulate: true, initial });
      expectClose(got, out, tolerance(magnitude, k + 1));
    }
  });

  it("writes only its own columns of a wider output", () => {
    const [m, n, k, stride] = [5, 10, 3, 16];
    arena.scope(() => {
      const a = arena.copyIn(new Float32Array(8 * k).fill(1));
      const b = arena.copyIn(new Float32Array(16 * k).fill(1));
      const out = arena.copyIn(new Float32Array(m * stride).fill(-9));
      exports.gemmF32(out, stride, a, b, m, n, k, 0);
      const want = Array.from({ length: m * stride }, (_, at) =>
        at % stride < n ? k : -9,
      );
      expectClose(arena.f32(out, m * stride), want, 0);
    });
  });

  it("lets NaN, infinities and signed zeros through in every row, column and lane", () => {
    const [m, n, k] = [9, 17, 5];
    for (const corner of [NaN, Infinity, -Infinity, -0, 3e38, 2 ** -149]) {
      for (let at = 0; at < m * k; at++) {
        const a = new Float32Array(m * k).fill(1);
        const b = new Float32Array(n * k).fill(1);
        a[at] = corner;
        const { out, magnitude } = twin.matmul(a, b, m, n, k);
        expectClose(multiply(a, b, m, n, k), out, tolerance(magnitude, k));
      }
      for (let at = 0; at < n * k; at++) {
        const a = new Float32Array(m * k).fill(1);
        const b = new Float32Array(n * k).fill(1);
        b[at] = corner;
        const { out, magnitude } = twin.matmul(a, b, m, n, k);
        expectClose(multiply(a, b, m, n, k), out, tolerance(magnitude, k));
      }
    }
  });

  it("rounds both operands to bf16 as it packs them, and nothing else", () => {
    for (const layout of ["rows", "columns"] as const) {
      const [m, n, k] = [11, 18, 23];
      const a = normals(m * k, 8);
      const b = normals(n * k, 9);
      // Ties to even, downwards and upwards; then, in rows of their own, a value that rounds to
      // infinity and a NaN whose low bits would carry.
      a.set([1 + 2 ** -8, 1 + 3 * 2 ** -8, -1 - 3 * 2 ** -8]);
      b.set([-1 - 2 ** -8, 1 + 3 * 2 ** -8], 2 * k);
      a[9 * k + 4] = 3.4e38;
      new Uint32Array(a.buffer)[10 * k + 5] = 0x7fffffff;
      const got = multiply(a, b, m, n, k, {
        roundToBf16: true,
        aLayout: layout,
        bLayout: layout,
      });
      const want = multiply(twin.roundToBf16(a), twin.roundToBf16(b), m, n, k);
      expect(got).toEqual(want);
      expect(got).not.toEqual(multiply(a, b, m, n, k));
    }
  });

  it("refuses empty operands", () => {
    expect(() =>
      multiply(new Float32Array(0), new Float32Array(0), 0, 1, 1),
    ).toThrow("Expected `rows` to be a whole number from 1, got 0");
  });
});

describe("transpose", () => {
  it("moves every element, at odd sizes too", () => {
    for (const rows of SIZES) {
      for (const columns of SIZES) {
        const x = normals(rows * columns, rows);
        const got = arena.scope(() => {
          const out = arena.allocF32(x.length);
          transpose(out, arena.copyIn(x), rows, columns);
          return arena.f32(out, x.length).slice();
        });
        expect(got).toEqual(twin.transpose(x, rows, columns));
      }
    }
  });
});

describe("fingerprint", () => {
  it("says whether multiply-add rounds once, as the GEMM shows", () => {
    // (1 + 2^−12)² − (1 + 2^−11) is 2^−24 with one rounding, 0 with two.
    const a = new Float32Array([-1 - 2 ** -11, 1 + 2 ** -12]);
    const b = new Float32Array([1, 1 + 2 ** -12]);
    const [sum] = multiply(a, b, 1, 1, 2);
    expect(fingerprint()).toBe(sum === 0 ? "4-nofma" : "4-fma");
    expect([0, 2 ** -24]).toContain(sum);
  });
});
