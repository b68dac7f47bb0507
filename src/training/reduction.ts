/**
 * The mean of a step's gradients, in one fixed order. The order follows the microbatch index, never
 * the arrival, so intermediate objects reduce subtrees (subtrees.ts) without changing a byte.
 */
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import { add, scale } from "../kernels/vector.ts";

/** Writes the gradient of one microbatch to f32 `out` [length]. */
export type ReadGradient = (out: Pointer, microbatch: number) => void;

/**
 * Mean over `count` microbatches, or over the `of` that so many subtrees have, to f32 `out` [length]: a binary tree of
 * sums in f32, then × 1/of once. Holds ⌈log2 count⌉ buffers besides `out`. Called inside `arena.scope`.
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

/** Microbatches below the split go left: the largest power of two below `count`. */
export function splitPoint(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

/** Their sum from `first` on, as `reduceGradients` has it before the mean. Called inside `arena.scope`. */
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
