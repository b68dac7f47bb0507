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
 * The coefficients of X, A · X and A² · X, step by step: of all such polynomials the one nearest to 1 on the interval
 * that the step before ends in, widened by a twentieth on either side for what 6 bits add; the first on [0.02, 1]. So
 * singular values from a fiftieth of the bound on end between 0.86 and 1.14.
 *
 * Source: Amsel et al., The Polar Express (arXiv 2505.16932); of Jordan et al., Muon (2024), five steps take values
 * from 0.003 of the Frobenius norm on to between 0.66 and 1.21
 */
export const NEWTON_SCHULZ_STEPS = [
  [7.711, -22.1138, 16.2487],
  [3.1501, -2.1738, 0.4119],
  [2.2721, -1.5656, 0.3681],
] as const;
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
  const norm = Math.sqrt(sumSquares(x, rows * columns));
  scale(x, rows * columns, 1 / (norm + LEAST_NORM));
  arena.scope(() => {
    const a = arena.allocF32(rows * rows);
    const square = arena.allocF32(rows * rows);
    const diagonal = arena.allocF32(rows);
    for (const [step, polynomial] of NEWTON_SCHULZ_STEPS.entries()) {
      gramInt6(a, byRows(x, columns), rows, columns);
      // Before the first step, X has yet to be divided by its bound.
      const bound = step === 0 ? boundOf(a, rows) : 1;
      const [factor, b, c] = dividing(polynomial, bound);
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

/** An upper bound of the largest singular value of X: the square root of the Frobenius norm of a = X · Xᵀ. */
function boundOf(a: Pointer, rows: number): number {
  return Math.sqrt(Math.sqrt(sumSquares(a, rows * rows))) || 1;
}

/** The polynomial of X / bound, as one of X. */
function dividing(
  [factor, b, c]: (typeof NEWTON_SCHULZ_STEPS)[number],
  bound: number,
): [number, number, number] {
  const square = bound * bound;
  return [factor / bound, b / (bound * square), c / (bound * square * square)];
}
