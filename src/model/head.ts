/**
 * The output head, with one weight row per vocabulary entry, like the token embedding. At least bf16, as in the
 * paper.
 *
 * The vocabulary may be large, so the weight is packed a block of rows at a time. Sums are in order of k, also across
 * blocks, so blocks do not change a bit.
 */
import { type Recipe, RECIPES } from "../api/recipe.ts";
import type { Pointer } from "../kernels/arena.ts";
import {
  byColumns,
  byRows,
  multiplyF32,
  type Operand,
  packF32,
} from "../kernels/matmul.ts";
import { kernels } from "../kernels/runtime.ts";

/** Vocabulary rows packed at a time: panels that fit the second-level cache. */
const BLOCK = 512;

export type Head = {
  /** f32 [V, C] */
  weight: Pointer;
  vocabulary: number;
  width: number;
  recipe: Recipe;
};

/** logits [rows, V] = hidden [rows, C] · weightᵀ [C, V] */
export function headForward(
  logits: Pointer,
  hidden: Pointer,
  rows: number,
  { weight, vocabulary: V, width: C, recipe }: Head,
): void {
  const roundToBf16 = RECIPES[recipe].head.format === "bf16";
  kernels().arena.scope(() => {
    const a = packF32("a", byRows(hidden, C), rows, C, roundToBf16);
    forEachBlock(V, (first, count) => {
      const words = byRows(weight + 4 * first * C, C);
      const b = packF32("b", words, count, C, roundToBf16);
      multiplyF32(logits + 4 * first, V, a, b, rows, count, C, 0);
    });
  });
}

/**
 * dHidden [rows, C] = dLogits [rows, V] · weight [V, C], and dWeight [V, C] += dLogitsᵀ [V, rows] · hidden [rows, C].
 * `dHidden` may be `hidden`.
 */
export function headBackward(
  dHidden: Pointer,
  dWeight: Pointer,
  dLogits: Pointer,
  hidden: Pointer,
  rows: number,
  { weight, vocabulary: V, width: C, recipe }: Head,
): void {
  const roundToBf16 = RECIPES[recipe].head.format === "bf16";
  const packed = (side: "a" | "b", operand: Operand, m: number, k: number) =>
    packF32(side, operand, m, k, roundToBf16);
  kernels().arena.scope(() => {
    const x = packed("b", byColumns(hidden, C), C, rows);
    forEachBlock(V, (first, count) => {
      const dBlock = dLogits + 4 * first;
      const dWords = packed("a", byColumns(dBlock, V), count, rows);
      const to = dWeight + 4 * first * C;
      multiplyF32(to, C, dWords, x, count, C, rows, to);
    });
    forEachBlock(V, (first, count) => {
      const dBlock = dLogits + 4 * first;
      const dY = packed("a", byRows(dBlock, V), rows, count);
      const words = byColumns(weight + 4 * first * C, C);
      const b = packed("b", words, C, count);
      multiplyF32(dHidden, C, dY, b, rows, C, count, first > 0 ? dHidden : 0);
    });
  });
}

/** Calls `body` for each block of the vocabulary, in its own arena scope. */
function forEachBlock(
  vocabulary: number,
  body: (first: number, count: number) => void,
): void {
  for (let first = 0; first < vocabulary; first += BLOCK) {
    const count = Math.min(BLOCK, vocabulary - first);
    kernels().arena.scope(() => body(first, count));
  }
}
