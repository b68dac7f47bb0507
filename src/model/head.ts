/**
 * The output head, by rows of its vocabulary, as a table of tokens, and the loss of its logits. It never goes below
 * bf16, as in the paper.
 *
 * The logits of a batch are as many as its tokens times the vocabulary: more than all else together where words are
 * many. So they are never there as a whole. A tile of rows comes at a time, its loss is taken, it becomes its own
 * gradient in place, and is multiplied into dHidden and dWeight while it lies in the cache. All sums go on where
 * the tile before left them, in order of k, so tiles do not change a bit.
 */
import { type Recipe, RECIPES } from "../api/recipe.ts";
import type { Pointer } from "../kernels/arena.ts";
import {
  softmaxCrossEntropyBackward,
  softmaxCrossEntropyForward,
} from "../kernels/cross-entropy.ts";
import {
  byColumns,
  byRows,
  multiplyPacked,
  type Operand,
  pack,
} from "../kernels/matmul.ts";
import { kernels } from "../kernels/runtime.ts";

/** A tile has this many rows, or fewer where it would be larger than this. */
const TILE_ROWS = 256;
const TILE_BYTES = 8 * 1024 * 1024;
/** Few rows would be multiplied for what each packing of the weight costs. */
const LEAST_ROWS = 64;
/** Of the vocabulary, packed at a time: panels that lie in the second-level cache. */
const BLOCK = 512;

export type Head = {
  /** f32 [V, C] */
  weight: Pointer;
  vocabulary: number;
  width: number;
  recipe: Recipe;
};

export type HeadGradients = {
  /** f32 [tokens, C], overwritten; may be `hidden`. */
  dHidden: Pointer;
  /** f32 [V, C], added to. */
  dWeight: Pointer;
  /** Of the loss's sum: 1 ÷ the tokens that count. */
  scale: number;
};

/**
 * The sum of cross-entropies in nats, in f64, over tokens whose target is not −1; and its gradients, where they are
 * asked for. hidden f32 [tokens, C]; targets i32 [tokens].
 */
export function headLoss(
  hidden: Pointer,
  targets: Pointer,
  tokens: number,
  head: Head,
  gradients?: HeadGradients,
): number {
  const { vocabulary: V } = head;
  const { arena } = kernels();
  let lossSum = 0;
  forEachTile(hidden, tokens, head, (logits, row, rows) => {
    const own = targets + 4 * row;
    const logSumExp = arena.allocF32(rows);
    lossSum = softmaxCrossEntropyForward(
      logSumExp,
      logits,
      own,
      rows,
      V,
      lossSum,
    );
    if (gradients === undefined) return;
    const { dHidden, dWeight, scale } = gradients;
    // From here on `logits` hold their gradient.
    softmaxCrossEntropyBackward(logits, logits, logSumExp, own, rows, V, scale);
    const [x, dX] = [hidden, dHidden].map((at) => at + 4 * row * head.width);
    headBackward(dX!, dWeight, logits, x!, rows, head);
  });
  return lossSum;
}

/** Gives the logits of every token, f32 [rows, V], tile by tile, from token `row` on. They stay for the call. */
export function forEachTile(
  hidden: Pointer,
  tokens: number,
  head: Head,
  visit: (logits: Pointer, row: number, rows: number) => void,
): void {
  const { vocabulary: V, width: C } = head;
  const { arena } = kernels();
  const most = tileRows(V);
  for (let row = 0; row < tokens; row += most) {
    const rows = Math.min(most, tokens - row);
    arena.scope(() => {
      const logits = arena.allocF32(rows * V);
      headForward(logits, hidden + 4 * row * C, rows, head);
      visit(logits, row, rows);
    });
  }
}

export function tileRows(vocabulary: number): number {
  const fitting = Math.floor(TILE_BYTES / (4 * vocabulary));
  return Math.max(LEAST_ROWS, Math.min(TILE_ROWS, fitting));
}

/** logits [rows, V] = hidden [rows, C] · weightᵀ [C, V] */
function headForward(
  logits: Pointer,
  hidden: Pointer,
  rows: number,
  { weight, vocabulary: V, width: C, recipe }: Head,
): void {
  const roundToBf16 = RECIPES[recipe].head.format === "bf16";
  kernels().arena.scope(() => {
    const a = pack("a", byRows(hidden, C), rows, C, roundToBf16);
    forEachBlock(V, (first, count) => {
      const words = byRows(weight + 4 * first * C, C);
      const b = pack("b", words, count, C, roundToBf16);
      multiplyPacked(logits + 4 * first, V, a, b, rows, count, C, false);
    });
  });
}

/**
 * dHidden [rows, C] = dLogits [rows, V] · weight [V, C], and dWeight [V, C] += dLogitsᵀ [V, rows] · hidden [rows, C].
 * `dHidden` may be `hidden`.
 */
function headBackward(
  dHidden: Pointer,
  dWeight: Pointer,
  dLogits: Pointer,
  hidden: Pointer,
  rows: number,
  { weight, vocabulary: V, width: C, recipe }: Head,
): void {
  const roundToBf16 = RECIPES[recipe].head.format === "bf16";
  const packed = (side: "a" | "b", operand: Operand, m: number, k: number) =>
    pack(side, operand, m, k, roundToBf16);
  kernels().arena.scope(() => {
    const x = packed("b", byColumns(hidden, C), C, rows);
    forEachBlock(V, (first, count) => {
      const dBlock = dLogits + 4 * first;
      const dWords = packed("a", byColumns(dBlock, V), count, rows);
      multiplyPacked(
        dWeight + 4 * first * C,
        C,
        dWords,
        x,
        count,
        C,
        rows,
        true,
      );
    });
    forEachBlock(V, (first, count) => {
      const dBlock = dLogits + 4 * first;
      const dY = packed("a", byRows(dBlock, V), rows, count);
      const words = byColumns(weight + 4 * first * C, C);
      const b = packed("b", words, C, count);
      multiplyPacked(dHidden, C, dY, b, rows, C, count, first > 0);
    });
  });
}

/** What `body` allocates, it has for itself. */
function forEachBlock(
  vocabulary: number,
  body: (first: number, count: number) => void,
): void {
  for (let first = 0; first < vocabulary; first += BLOCK) {
    const count = Math.min(BLOCK, vocabulary - first);
    kernels().arena.scope(() => body(first, count));
  }
}
