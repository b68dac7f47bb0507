import { expect, test } from "vitest";
import {
  softmaxCrossEntropyBackward,
  softmaxCrossEntropyForward,
} from "../../src/kernels/cross-entropy.ts";
import { byColumns, byRows, matmul } from "../../src/kernels/matmul.ts";
import { forEachTile, headLoss, tileRows } from "../../src/model/head-loss.ts";
import { arena } from "../support/kernels.ts";
import { normals } from "../support/random.ts";

const C = 20;

/** `toEqual` takes ten seconds for two million values. */
function expectSame(got: Float32Array, want: Float32Array): void {
  expect(got.length).toBe(want.length);
  expect(got.findIndex((value, at) => value !== want[at])).toBe(-1);
}

/** Tokens that end within a tile, words within a block and a strip of eight. */
test.each([
  { recipe: "f32", tokens: tileRows(1) + 47, V: 1 },
  { recipe: "bf16", tokens: 2 * tileRows(523) + 3, V: 523 },
  { recipe: "mxfp4-rht-sr", tokens: tileRows(16_384) + 1, V: 16_384 },
] as const)(
  "the head's tiles give the bytes of whole products: $recipe, $tokens tokens, $V words",
  ({ recipe, tokens, V }) => {
    arena.scope(() => {
      const hidden = arena.copyIn(normals(tokens * C, 1));
      const weight = arena.copyIn(normals(V * C, 2));
      const targets = arena.copyIn(
        Int32Array.from(
          { length: tokens },
          (_, at) => ((at * 7) % (V + 1)) - 1,
        ),
      );
      const before = normals(V * C, 3);
      const copyOf = (at: number, length: number): Float32Array =>
        arena.f32(at, length).slice();

      const logits = arena.allocF32(tokens * V);
      const [x, words] = [byRows(hidden, C), byRows(weight, C)];
      const options = { roundToBf16: recipe !== "f32" };
      matmul(logits, x, words, tokens, V, C, options);
      const allLogits = copyOf(logits, tokens * V);
      const sums = arena.allocF32(tokens);
      const loss = softmaxCrossEntropyForward(sums, logits, targets, tokens, V);
      softmaxCrossEntropyBackward(
        logits,
        logits,
        sums,
        targets,
        tokens,
        V,
        0.5,
      );
      const dX = arena.allocF32(tokens * C);
      const dLogits = byRows(logits, V);
      matmul(dX, dLogits, byColumns(weight, C), tokens, C, V, options);
      const dW = arena.copyIn(before);
      matmul(dW, byColumns(logits, V), byColumns(hidden, C), V, C, tokens, {
        ...options,
        accumulate: true,
      });

      const head = { weight, vocabulary: V, width: C, recipe };
      const tiles: Float32Array[] = [];
      forEachTile(hidden, tokens, head, (tile, row, rows) => {
        expect(row).toBe(tiles.length * tileRows(V));
        tiles.push(copyOf(tile, rows * V));
      });
      expect(tiles.length).toBe(Math.ceil(tokens / tileRows(V)));
      const given = new Float32Array(tokens * V);
      for (const [at, tile] of tiles.entries())
        given.set(tile, at * tileRows(V) * V);
      expectSame(given, allLogits);

      expect(headLoss(hidden, targets, tokens, head)).toBe(loss);
      const dWeight = arena.copyIn(before);
      const gradients = { dHidden: hidden, dWeight, scale: 0.5 };
      expect(headLoss(hidden, targets, tokens, head, gradients)).toBe(loss);
      expectSame(copyOf(hidden, tokens * C), copyOf(dX, tokens * C));
      expectSame(copyOf(dWeight, V * C), copyOf(dW, V * C));
    });
  },
);
