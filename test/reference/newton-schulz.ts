/** Slow twins of the orthogonalization, in f64. */
import { matmul } from "./matmul.ts";

/** a · x + b · x³ + c · x⁵ */
export type Quintic = [a: number, b: number, c: number];

export function valueAt([a, b, c]: Quintic, x: number): number {
  return x * (a + x * x * (b + x * x * c));
}

/**
 * The odd quintic whose largest distance from 1 on [low, high] is least: Remez's exchange. It is off by as much, above
 * and below in turn, at both ends and at its two extremes between.
 */
function nearestToOne(low: number, high: number): Quintic {
  let inner = [(3 * low + high) / 4, (low + 3 * high) / 4];
  for (let round = 0; ; round++) {
    const rows = [low, ...inner, high].map((x, i) => [
      x,
      x ** 3,
      x ** 5,
      i % 2 ? -1 : 1,
      1,
    ]);
    const [a, b, c] = solve(rows) as Quintic;
    if (round === 50) return [a, b, c];
    // Where the derivative a + 3b · x² + 5c · x⁴ is 0.
    const root = Math.sqrt(9 * b * b - 20 * a * c);
    inner = [-1, 1].map((sign) => Math.sqrt((-3 * b + sign * root) / (10 * c)));
  }
}

/** Solves a system of equations, rows of coefficients and the right side: Gauss's elimination. */
function solve(rows: number[][]): number[] {
  for (const [i, row] of rows.entries()) {
    for (const [j, other] of rows.entries()) {
      if (j === i) continue;
      const factor = other[i]! / row[i]!;
      for (const k of other.keys()) other[k]! -= factor * row[k]!;
    }
  }
  return rows.map((row, i) => row.at(-1)! / row[i]!);
}

/**
 * Three steps from [0.02, 1], to four decimals: each polynomial is for the interval that the one before ends in, a
 * twentieth wider on either side.
 */
export function polynomials(): Quintic[] {
  let [low, high] = [0.02, 1];
  return Array.from({ length: 3 }, () => {
    const polynomial = nearestToOne(low, high);
    const least = valueAt(polynomial, low);
    low = least / 1.05;
    high = (2 - least) * 1.05;
    return polynomial.map((x) => Number(x.toFixed(4))) as Quintic;
  });
}

/**
 * X ← a · X + (b · A + c · A²) · X with A = X · Xᵀ, step by step, from X over a bound of its largest singular value,
 * √‖X · Xᵀ‖; [rows, columns].
 */
export function newtonSchulz(
  x: ArrayLike<number>,
  rows: number,
  columns: number,
): Float64Array {
  const wide = Float64Array.from(x);
  const first = matmul(wide, wide, rows, rows, columns).out;
  const bound = Math.sqrt(Math.hypot(...first));
  let y = wide.map((value) => value / bound);
  for (const [linear, third, fifth] of polynomials()) {
    const a = matmul(y, y, rows, rows, columns).out;
    const square = matmul(a, a, rows, rows, rows).out;
    const polynomial = a.map((value, i) => third * value + fifth * square[i]!);
    const columnsOfY = transpose64(y, rows, columns);
    const product = matmul(polynomial, columnsOfY, rows, columns, rows).out;
    y = y.map((value, i) => linear * value + product[i]!);
  }
  return y;
}

function transpose64(x: Float64Array, rows: number, columns: number) {
  return Float64Array.from(
    { length: rows * columns },
    (_, at) => x[(at % rows) * columns + Math.floor(at / rows)]!,
  );
}

/** Singular values of x [rows, columns], ascending: Jacobi's rotations on x · xᵀ. */
export function singularValues(
  x: ArrayLike<number>,
  rows: number,
  columns: number,
): number[] {
  const m = matmul(x, x, rows, rows, columns).out;
  for (let sweep = 0; sweep < 15; sweep++) {
    for (let p = 0; p < rows; p++) {
      for (let q = p + 1; q < rows; q++) rotate(m, rows, p, q);
    }
  }
  return Array.from({ length: rows }, (_, i) =>
    Math.sqrt(Math.max(0, m[i * rows + i]!)),
  ).sort((a, b) => a - b);
}

/** Makes element (p, q) of the symmetric m zero. */
function rotate(m: Float64Array, n: number, p: number, q: number): void {
  const off = m[p * n + q]!;
  if (off === 0) return;
  const theta = (m[q * n + q]! - m[p * n + p]!) / (2 * off);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const c = 1 / Math.hypot(t, 1);
  const s = t * c;
  for (const [step, line] of [
    [n, 1],
    [1, n],
  ] as const) {
    for (let i = 0; i < n; i++) {
      const [a, b] = [i * step + p * line, i * step + q * line];
      const [x, y] = [m[a]!, m[b]!];
      m[a] = c * x - s * y;
      m[b] = s * x + c * y;
    }
  }
}
