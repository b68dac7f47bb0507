/** Slow twins of the orthogonalization, in f64. */
import { matmul } from "./matmul.ts";

const [A, B, C] = [3.4445, -4.775, 2.0315];

/** Five steps of X ← a · X + (b · A + c · A²) · X with A = X · Xᵀ, from X over its norm; [rows, columns]. */
export function newtonSchulz(
  x: ArrayLike<number>,
  rows: number,
  columns: number,
): Float64Array {
  const norm = Math.sqrt(Array.from(x).reduce((sum, v) => sum + v * v, 0));
  let y = Float64Array.from(x, (value) => value / norm);
  for (let step = 0; step < 5; step++) {
    const a = matmul(y, y, rows, rows, columns).out;
    const square = matmul(a, a, rows, rows, rows).out;
    const polynomial = a.map((value, i) => B * value + C * square[i]!);
    const columnsOfY = transpose64(y, rows, columns);
    const product = matmul(polynomial, columnsOfY, rows, columns, rows).out;
    y = y.map((value, i) => A * value + product[i]!);
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
