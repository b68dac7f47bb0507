/**
 * The output head with cross-entropy, over all tokens of a batch.
 *
 * The logits [tokens, V] would be larger than everything else together if V is large, so they are never stored as a
 * whole: a tile of rows is computed, its loss taken, turned into its own gradient in place, and multiplied into
 * dHidden and dWeight while it is in the cache. Sums continue from tile to tile in order of tokens, so tiles do not
 * change a bit.
 */
import type { Pointer } from "../kernels/arena.ts";
import {
  softmaxCrossEntropyBackward,
  softmaxCrossEntropyForward,
} from "../kernels/cross-entropy.ts";
import { kernels } from "../kernels/runtime.ts";
import { type Head, headBackward, headForward } from "./head.ts";

/** Rows of a tile; fewer if the tile would exceed the size below. */
const TILE_ROWS = 256;
const TILE_BYTES = 8 * 1024 * 1024;
/** Packing the weight is repeated for each tile. */
const LEAST_ROWS = 64;

export type HeadGradients = {
  /** f32 [tokens, C], overwritten; may be `hidden`. */
  dHidden: Pointer;
  /** f32 [V, C], added to. */
  dWeight: Pointer;
  /** Factor of the gradient: 1 / the number of counted tokens. */
  scale: number;
};

/**
 * The sum of cross-entropies in nats, in f64, over tokens whose target is not −1; and its gradients, if requested.
 * hidden f32 [tokens, C]; targets i32 [tokens].
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
    // From here on `logits` holds its own gradient.
    softmaxCrossEntropyBackward(logits, logits, logSumExp, own, rows, V, scale);
    const [x, dX] = [hidden, dHidden].map((at) => at + 4 * row * head.width);
    headBackward(dX!, dWeight, logits, x!, rows, head);
  });
  return lossSum;
}

/**
 * Calls `visit` with the logits of all tokens, f32 [rows, V], tile by tile, from token `row` on; valid during the
 * call.
 */
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
