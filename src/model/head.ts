/** The output head, by rows of its vocabulary, as a table of tokens. It never goes below bf16, as in the paper. */
import { type Recipe, RECIPES } from "../api/recipe.ts";
import type { Pointer } from "../kernels/arena.ts";
import { byColumns, byRows, matmul } from "../kernels/matmul.ts";

/** logits = hidden · weightᵀ. logits f32 [T, V]; hidden f32 [T, C]; weight f32 [V, C]. */
export function headForward(
  logits: Pointer,
  hidden: Pointer,
  weight: Pointer,
  tokens: number,
  width: number,
  vocabulary: number,
  recipe: Recipe,
): void {
  const roundToBf16 = RECIPES[recipe].head.format === "bf16";
  matmul(
    logits,
    byRows(hidden, width),
    byRows(weight, width),
    tokens,
    vocabulary,
    width,
    { roundToBf16 },
  );
}

/** Overwrites dHidden f32 [T, C], adds to dWeight f32 [V, C]. */
export function headBackward(
  dHidden: Pointer,
  dWeight: Pointer,
  dLogits: Pointer,
  hidden: Pointer,
  weight: Pointer,
  tokens: number,
  width: number,
  vocabulary: number,
  recipe: Recipe,
): void {
  const roundToBf16 = RECIPES[recipe].head.format === "bf16";
  matmul(
    dHidden,
    byRows(dLogits, vocabulary), // [T, V]
    byColumns(weight, width), // [C, V]
    tokens,
    width,
    vocabulary,
    { roundToBf16 },
  );
  matmul(
    dWeight,
    byColumns(dLogits, vocabulary), // [V, T]
    byColumns(hidden, width), // [C, T]
    vocabulary,
    width,
    tokens,
    { accumulate: true, roundToBf16 },
  );
}
