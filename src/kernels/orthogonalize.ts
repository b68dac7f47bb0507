/**
 * An approximation of the orthogonal matrix nearest to a given one: its singular values become close to 1, its
 * singular vectors stay. Products run on 6-bit integers, which are exact and therefore the same on every machine
 * (assembly/layers/newton-schulz.ts explains how).
 */
import type { Pointer } from "./arena.ts";
import { checkMultiple } from "./check.ts";
import { addMatmulInt6, gramInt6, packInt6 } from "./int6-matmul.ts";
import { byColumns, byRows } from "./matmul.ts";
import { kernels } from "./runtime.ts";
import { scale, sumSquares } from "./vector.ts";

/**
 * Number of iterations, and the coefficients of X, A · X and A² · X. Singular values from 0.003 on end between 0.66
 * and 1.21. Source: Jordan et al., Muon (2024), the coefficients of its reference implementation
 */
export const NEWTON_SCHULZ_STEPS = 5;
const COEFFICIENTS = [3.4445, -4.775, 2.0315] as const;
/** Keeps a zero matrix zero. */
const LEAST_NORM = 1e-7;

/**
 * x ← approximately U · Vᵀ, where x = U · S · Vᵀ, in place.
 *
 * Shapes:   x f32 [rows, columns], rows ≤ columns, both multiples of 64
 */
export function orthogonalize(x: Pointer, rows: number, columns: number): void {
  checkMultiple("rows", rows, 64);
  checkMultiple("columns", columns, 64);
  if (rows > columns) {
    throw new RangeError(
      `Expected at most as many rows as columns, got ${rows} × ${columns}`,
    );
  }
  const { arena, exports } = kernels();
  const [factor, b, c] = COEFFICIENTS;
  const norm = Math.sqrt(sumSquares(x, rows * columns));
  scale(x, rows * columns, 1 / (norm + LEAST_NORM));
  arena.scope(() => {
    const a = arena.allocF32(rows * rows);
    const square = arena.allocF32(rows * rows);
    const diagonal = arena.allocF32(rows);
    for (let step = 0; step < NEWTON_SCHULZ_STEPS; step++) {
      gramInt6(a, byRows(x, columns), rows, columns);
      exports.splitDiagonalF32(diagonal, a, rows);
      gramInt6(square, byRows(a, rows), rows, rows); // a is symmetric
      exports.newtonSchulzF32(a, square, diagonal, rows, factor, b, c);
      arena.scope(() => {
        const left = packInt6("a", byRows(a, rows), rows, rows);
        const right = packInt6("b", byColumns(x, columns), columns, rows);
        addMatmulInt6(x, diagonal, left, right, rows, columns, rows);
      });
    }
  });
}
