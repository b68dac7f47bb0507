import { expect, test } from "vitest";
import {
  reduceGradients,
  splitPoint,
  sumGradients,
} from "../../src/training/reduction.ts";
import { subtreesOf } from "../../src/training/subtrees.ts";
import { normals } from "../support/random.ts";
import { arena } from "../support/kernels.ts";

/** The same tree as text: what was added to what. */
function treeOf(first: number, count: number): string {
  if (count === 1) return `${first}`;
  const split = splitPoint(count);
  return `(${treeOf(first, split)}+${treeOf(first + split, count - split)})`;
}

function reduce(gradients: Float32Array[]): Float32Array {
  const { length } = gradients[0]!;
  return arena.scope(() => {
    const out = arena.allocF32(length);
    reduceGradients(out, length, gradients.length, (at, microbatch) =>
      arena.f32(at, length).set(gradients[microbatch]!),
    );
    return arena.f32(out, length).slice();
  });
}

test("the tree splits at the largest power of two below the count", () => {
  expect(treeOf(0, 3)).toBe("((0+1)+2)");
  expect(treeOf(0, 4)).toBe("((0+1)+(2+3))");
  expect(treeOf(0, 5)).toBe("(((0+1)+(2+3))+4)");
  expect(treeOf(0, 7)).toBe("(((0+1)+(2+3))+((4+5)+6))");
  expect(splitPoint(8)).toBe(4);
  expect(splitPoint(9)).toBe(8);
});

test("sums are rounded in the tree's order, and divided once", () => {
  const big = 2 ** 24;
  // In f32, (big + 1) + 1 = big, but big + (1 + 1) = big + 2.
  const of = (...values: number[]) =>
    reduce(values.map((value) => new Float32Array(64).fill(value)))[0];
  expect(of(big, 1, 1)).toBe(Math.fround(Math.fround(1 / 3) * big));
  expect(of(big, 0, 1, 1)).toBe((big + 2) / 4);
  expect(of(7)).toBe(7);
});

test("the mean of n equals the plain mean, for every n and element", () => {
  for (let count = 1; count <= 9; count++) {
    const gradients = Array.from({ length: count }, (_, i) =>
      Float32Array.from({ length: 192 }, (_, j) => i * 64 + j),
    );
    const mean = reduce(gradients);
    for (let j = 0; j < 192; j++) {
      expect(mean[j]).toBeCloseTo(((count - 1) / 2) * 64 + j, 3);
    }
  }
});

test("the mean of subtrees' sums has the bytes of the whole tree's, for every n and size of subtree", () => {
  const length = 64;
  for (let count = 3; count <= 20; count++) {
    const gradients = Array.from({ length: count }, (_, i) =>
      normals(length, i),
    );
    const whole = reduce(gradients);
    for (let subtree = 2; subtree < count; subtree *= 2) {
      const cut = subtreesOf({ microbatches: count, subtree });
      const mean = arena.scope(() => {
        const out = arena.allocF32(length);
        reduceGradients(
          out,
          length,
          cut.length,
          (sum, index) => {
            const { first, count: some } = cut[index]!;
            sumGradients(sum, length, first, some, (at, microbatch) =>
              arena.f32(at, length).set(gradients[microbatch]!),
            );
          },
          count,
        );
        return arena.f32(out, length).slice();
      });
      expect(mean, `${count} in subtrees of ${subtree}`).toEqual(whole);
    }
  }
});
