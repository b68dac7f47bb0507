/** Folds rows of a tensor in the kernels' memory. */
import type { Pointer } from "../../kernels/arena.ts";
import { transpose } from "../../kernels/matmul.ts";
import { kernels } from "../../kernels/runtime.ts";
import { rotate } from "../blocks/block-pieces.ts";
import type { Fold } from "./fold-plan.ts";

/**
 * Folds in place. The rows are whole segments of `fold.rows`; a 1-D tensor is one row.
 *
 * Shapes:   x f32 [rows, columns]; norm f32 [columns], the factors of the folded norm
 */
export function foldRows(
  x: Pointer,
  rows: number,
  columns: number,
  fold: Fold,
  seed: number,
  norm?: Float32Array,
): void {
  const { arena } = kernels();
  const values = arena.f32(x, rows * columns);
  if (fold.becomes !== undefined) {
    values.fill(fold.becomes);
    return;
  }
  if (norm) {
    for (let at = 0; at < values.length; at += columns) {
      for (let i = 0; i < columns; i++) values[at + i]! *= norm[i]!;
    }
  }
  const { columns: hadamard, rows: ofRows } = fold;
  if (hadamard) {
    arena.scope(() => rotate(x, rows * columns, { hadamard, seed }));
  }
  if (ofRows) {
    arena.scope(() => {
      const turned = arena.allocF32(rows * columns);
      transpose(turned, x, rows, columns);
      rotate(turned, rows * columns, { hadamard: ofRows, seed });
      transpose(x, turned, columns, rows);
    });
  }
}
