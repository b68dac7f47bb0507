/**
 * The mean of a step's gradients, summed in a fixed order. It follows the microbatch index, never the arrival, so
 * other objects can sum subtrees (subtrees.ts) without changing a byte.
 */
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { add, scale } from "../kernels/vector.ts";

/** Writes the gradient of one microbatch to f32 `out` [length]. */
export type ReadGradient = (out: Pointer, microbatch: number) => void;

/**
 * Writes the mean of `count` gradients to f32 `out` [length]: a binary tree of f32 sums, then × 1/of once. If the
 * inputs are sums of subtrees, `of` is the number of microbatches in them. Holds ⌈log2 count⌉ buffers besides `out`.
 * Called inside `arena.scope`.
 */
export function reduceGradients(
  out: Pointer,
  length: number,
  count: number,
  read: ReadGradient,
  of = count,
): void {
  sumGradients(out, length, 0, count, read);
  scale(out, length, 1 / of);
}

/** Where a node of the tree splits: the largest power of two below `count`. */
export function splitPoint(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

/**
 * Writes the sum of gradients `[first, first + count)` to f32 `out` [length], in the tree order of `reduceGradients`.
 * Called inside `arena.scope`.
 */
export function sumGradients(
  out: Pointer,
  length: number,
  first: number,
  count: number,
  read: ReadGradient,
): void {
  if (count === 1) {
    read(out, first);
    return;
  }
  const split = splitPoint(count);
  sumGradients(out, length, first, split, read);
  const { arena } = kernels();
  arena.scope(() => {
    const right = arena.allocF32(length);
    sumGradients(right, length, first + split, count - split, read);
    add(out, out, right, length);
  });
}
