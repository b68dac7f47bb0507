/** The output head, tied to the token embedding. It never goes below bf16, as in the paper. */
import { type Recipe, RECIPES } from "../../api/recipe.ts";
import type { Pointer } from "../../kernels/arena.ts";
import { byColumns, byRows, matmul } from "../../kernels/matmul.ts";

/** logits = hidden · embeddingᵀ. logits f32 [T, V]; hidden f32 [T, C]; embedding f32 [V, C]. */
export function headForward(
  logits: Pointer,
  hidden: Pointer,
  embedding: Pointer,
  tokens: number,
  width: number,
  vocabulary: number,
  recipe: Recipe,
): void {
  const roundToBf16 = RECIPES[recipe].head.format === "bf16";
  matmul(
    logits,
    byRows(hidden, width),
    byRows(embedding, width),
    tokens,
    vocabulary,
    width,
    { roundToBf16 },
  );
}

/** Overwrites dHidden f32 [T, C], adds to dEmbedding f32 [V, C]. */
export function headBackward(
  dHidden: Pointer,
  dEmbedding: Pointer,
  dLogits: Pointer,
  hidden: Pointer,
  embedding: Pointer,
  tokens: number,
  width: number,
  vocabulary: number,
  recipe: Recipe,
): void {
  const roundToBf16 = RECIPES[recipe].head.format === "bf16";
  matmul(
    dHidden,
    byRows(dLogits, vocabulary), // [T, V]
    byColumns(embedding, width), // [C, V]
    tokens,
    width,
    vocabulary,
    { roundToBf16 },
  );
  matmul(
    dEmbedding,
    byColumns(dLogits, vocabulary), // [V, T]
    byColumns(hidden, width), // [C, T]
    vocabulary,
    width,
    tokens,
    { accumulate: true, roundToBf16 },
  );
}
