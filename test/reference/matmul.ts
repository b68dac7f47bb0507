/** Slow twins of the f32 GEMM and what surrounds it, in f64. */
import { decodeBf16, encodeBf16 } from "./vector.ts";

/** out = initial + a · bᵀ; `magnitude` is the same sum over absolute values, for tolerances. */
export function matmul(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  m: number,
  n: number,
  k: number,
  initial?: ArrayLike<number>,
): { out: Float64Array; magnitude: Float64Array } {
  const out = new Float64Array(m * n);
  const magnitude = new Float64Array(m * n);
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      const at = row * n + column;
      out[at] = initial?.[at] ?? 0;
      magnitude[at] = Math.abs(out[at]);
      for (let i = 0; i < k; i++) {
        const product = a[row * k + i] * b[column * k + i];
        out[at] += product;
        magnitude[at] += Math.abs(product);
      }
    }
  }
  return { out, magnitude };
}

export function roundToBf16(x: ArrayLike<number>): Float32Array {
  return Float32Array.from(x, (value) => decodeBf16(encodeBf16(value)));
}

/** [rows, columns] → [columns, rows] */
export function transpose(
  x: ArrayLike<number>,
  rows: number,
  columns: number,
): Float32Array {
  return Float32Array.from(
    { length: rows * columns },
    (_, at) => x[(at % rows) * columns + Math.floor(at / rows)],
  );
}
