/** Tensors as every container has them: what they are, and where they lie. */
import type { Dtype, StoredType } from "./dtype.ts";

export type TensorHead<T extends StoredType = StoredType> = {
  name: string;
  dtype: T;
  shape: readonly number[];
};

/** A tensor that is in memory: its little-endian bytes, C order. */
export type Tensor = TensorHead<Dtype> & { bytes: Uint8Array };

/** Where a tensor lies in the data. */
export type TensorRange<T extends StoredType = StoredType> = TensorHead<T> & {
  start: number;
  end: number;
};

/** How many elements a tensor of this shape has; 1 for a 0-D one. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1);
}

/** Whether its elements can be counted, one axis after the other: a 0 at the end saves no product that overflows. */
export function isCountable(shape: readonly number[]): boolean {
  let count = 1;
  return shape.every((size) => Number.isSafeInteger((count *= size)));
}

/** A shape whose last two axes stand the other way round. */
export function swapped(shape: readonly number[]): number[] {
  return [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!];
}

/** One without is stored, and there is nothing to do for it. */
export function hasElements({ shape }: Pick<TensorHead, "shape">): boolean {
  return elementCount(shape) > 0;
}

/** Code-unit order: the same everywhere, unlike a locale's. */
export function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
