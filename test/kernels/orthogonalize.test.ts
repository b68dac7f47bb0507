import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import {
  addMatmulInt6,
  gramInt6,
  matmulInt6,
  packInt6,
} from "../../src/kernels/int6-matmul.ts";
import { byRows } from "../../src/kernels/matmul.ts";
import {
  NEWTON_SCHULZ_STEPS,
  orthogonalize,
} from "../../src/kernels/orthogonalize.ts";
import { kernels } from "../../src/kernels/runtime.ts";
import {
  newtonSchulz,
  polynomials,
  singularValues,
  valueAt,
} from "../reference/newton-schulz.ts";
import { normals } from "../support/random.ts";

const { fround } = Math;

function orthogonal(
  x: Float32Array,
  rows: number,
  columns: number,
): Float32Array {
  return arena.scope(() => {
    const pointer = arena.copyIn(x);
    orthogonalize(pointer, rows, columns);
    return arena.f32(pointer, rows * columns).slice();
  });
}

/** A few directions stand out of noise, as in a gradient. */
function gradientLike(rows: number, columns: number): Float32Array {
  const [u, v] = [normals(4 * rows, 3), normals(4 * columns, 4)];
  return normals(rows * columns, 5).map((noise, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    let sum = 0.1 * noise;
    for (let r = 0; r < 4; r++) sum += u[4 * i + r]! * v[4 * j + r]!;
    return sum;
  });
}

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}

describe("the polynomials", () => {
  it("are those nearest to 1", () => {
    expect(NEWTON_SCHULZ_STEPS).toEqual(polynomials());
  });

  it("take all from 0.02 to 1 near to 1, off by no more than at its ends", () => {
    const ends = Array.from({ length: 10_000 }, (_, i) =>
      NEWTON_SCHULZ_STEPS.reduce(
        (x, polynomial) => valueAt([...polynomial], x),
        0.02 + (0.98 * i) / 9_999,
      ),
    );
    expect(Math.min(...ends)).toBeGreaterThan(0.86);
    expect(Math.max(...ends)).toBeLessThan(1.14);
  });
});

describe("orthogonalize", () => {
  it.each([
    [64, 64],
    [64, 192],
    [128, 128],
    [128, 256],
  ])("brings %i × %i normal draws near to orthogonal", (rows, columns) => {
    const x = normals(rows * columns, 1);
    const result = orthogonal(x, rows, columns);
    const values = singularValues(result, rows, columns);
    // The polynomials' own range is 0.86 to 1.14; and what 6 bits add.
    expect(values.at(-1)).toBeLessThan(1.2);
    // Squares have singular values near 0, which three steps do not bring up.
    const least = values[Math.floor(rows / 10)];
    expect(least).toBeGreaterThan(0.8);
    expect(cosine(result, newtonSchulz(x, rows, columns))).toBeGreaterThan(
      0.99,
    );
  });

  it("takes what stands out and noise to the same size", () => {
    const x = gradientLike(64, 128);
    const before = singularValues(x, 64, 128);
    expect(before.at(-1)! / before[0]!).toBeGreaterThan(100);
    const result = orthogonal(x, 64, 128);
    expect(singularValues(result, 64, 128).at(-1)).toBeLessThan(1.25);
    expect(cosine(result, newtonSchulz(x, 64, 128))).toBeGreaterThan(0.99);
  });

  it("does not depend on the size of its input", () => {
    const x = normals(64 * 64, 6);
    const small = orthogonal(
      x.map((v) => v / 1024),
      64,
      64,
    );
    expect(cosine(small, orthogonal(x, 64, 64))).toBeGreaterThan(0.9999);
  });

  it("leaves zeros", () => {
    const zeros = new Float32Array(64 * 128);
    expect(orthogonal(zeros, 64, 128)).toEqual(zeros);
  });

  it("refuses what is higher than wide, and what 64 does not divide", () => {
    expect(() => orthogonal(new Float32Array(128 * 64), 128, 64)).toThrow(
      "at most as many rows as columns, got 128 × 64",
    );
    expect(() => orthogonal(new Float32Array(64 * 96), 64, 96)).toThrow(
      "multiple of 64, got 96",
    );
  });
});

describe("gramInt6", () => {
  it.each([
    [8, 64],
    [64, 64],
    [136, 192],
    // More rows than stay in the cache together.
    [512, 1024],
  ])("of %i × %i is matmulInt6's product to the byte", (n, k) => {
    arena.scope(() => {
      const x = byRows(arena.copyIn(normals(n * k, 2)), k);
      const a = packInt6("a", x, n, k);
      const b = packInt6("b", x, n, k);
      const whole = arena.allocF32(n * n);
      matmulInt6(whole, a, b, arena.allocZeroedF32(n), n, n, k);
      for (const form of ["accumulating", "pairwise"] as const) {
        const half = arena.copyIn(new Float32Array(n * n).fill(7));
        gramInt6(half, x, n, k, form);
        const bytes = n * n * 4;
        const at = arena
          .u8(half, bytes)
          .findIndex((byte, i) => byte !== arena.u8(whole, bytes)[i]);
        expect(at, form).toBe(-1);
      }
    });
  });
});

describe("the parts of a step, each rounded to f32", () => {
  const n = 12;
  const a = normals(n * n, 7);
  const square = normals(n * n, 8);

  it("split the diagonal off", () => {
    arena.scope(() => {
      const [diagonal, pointer] = [arena.allocF32(n), arena.copyIn(a)];
      kernels().exports.splitDiagonalF32(diagonal, pointer, n);
      expect(arena.f32(diagonal, n)).toEqual(
        a.filter((_, at) => at % (n + 1) === 0),
      );
      expect(arena.f32(pointer, n * n)).toEqual(
        a.map((value, at) => (at % (n + 1) === 0 ? 0 : value)),
      );
    });
  });

  it("make the polynomial", () => {
    const d = normals(n, 9);
    const [factor, b, c] = [3.4445, -4.775, 2.0315].map(fround) as [
      number,
      number,
      number,
    ];
    arena.scope(() => {
      const pointers = [a, square, d].map((x) => arena.copyIn(x));
      const [ap, sp, dp] = pointers as [number, number, number];
      kernels().exports.newtonSchulzF32(ap, sp, dp, n, factor, b, c);
      const expected = a.map((value, at) => {
        const [i, j] = [Math.floor(at / n), at % n];
        if (i === j) return 0;
        const mixed = fround(fround(d[i]! + d[j]!) * value);
        const squared = fround(square[at]! + mixed);
        return fround(fround(b * value) + fround(c * squared));
      });
      expect(arena.f32(ap, n * n)).toEqual(expected);
      expect(arena.f32(dp, n)).toEqual(
        d.map((value, i) => {
          const squared = fround(square[i * (n + 1)]! + fround(value * value));
          const linear = fround(factor + fround(b * value));
          return fround(linear + fround(c * squared));
        }),
      );
    });
  });
});

describe("addMatmulInt6", () => {
  it.each([
    [4, 8, 64],
    [12, 24, 192],
  ])(
    "of %i × %i × %i is matmulInt6's product, added to scaled rows",
    (m, n, k) => {
      arena.scope(() => {
        const a = packInt6(
          "a",
          byRows(arena.copyIn(normals(m * k, 10)), k),
          m,
          k,
        );
        const b = packInt6(
          "b",
          byRows(arena.copyIn(normals(n * k, 11)), k),
          n,
          k,
        );
        const product = arena.allocF32(m * n);
        matmulInt6(product, a, b, arena.allocZeroedF32(n), m, n, k);
        const [factors, x] = [normals(m, 12), normals(m * n, 13)];
        const added = arena.f32(product, m * n);
        const expected = x.map((value, at) =>
          fround(fround(factors[Math.floor(at / n)]! * value) + added[at]!),
        );
        for (const form of ["accumulating", "pairwise"] as const) {
          const [to, by] = [arena.copyIn(x), arena.copyIn(factors)];
          addMatmulInt6(to, by, a, b, m, n, k, form);
          expect(arena.f32(to, m * n), form).toEqual(expected);
        }
      });
    },
  );
});
