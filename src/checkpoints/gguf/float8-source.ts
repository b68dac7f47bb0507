/**
 * FP8 weights of a tensor made for llama.cpp. Its rows may be reordered, selected, or stacked from several tensors;
 * each code needs the scale of its original position.
 */
import type {
  Float8Tensor,
  ScaleDtype,
  ScaleGrid,
} from "../../formats/blocks/fp8-scales.ts";
import { elementCount } from "../../formats/tensor.ts";
import type { Float8Type } from "../../kernels/mxfp8.ts";
import type { RowSelection } from "./names.ts";

export type Float8Source = {
  type: Float8Type;
  /** Missing if codes are values. */
  scales?: {
    dtype: ScaleDtype;
    /** Shape as stored, to which `grid` applies. */
    shape: readonly number[];
    grid: ScaleGrid;
    /** Number of elements per source tensor, in the new order. */
    elements: number;
    /** The stored position of an element of the new order, and how many of the following ones are adjacent there. */
    lie: (element: number) => { at: number; run: number };
  };
};

/** Selected rows along `axis`, in their new order. */
export function float8Source(
  { weight: { shape }, type, scale }: Float8Tensor,
  axis: number,
  selection: RowSelection | undefined,
): Float8Source {
  if (!scale) return { type };
  const { tensor, grid } = scale;
  const inner = elementCount(shape.slice(axis + 1));
  const rows = shape[axis] ?? 1;
  const { taken, rowOf } = order(rows, selection);
  const lie = (element: number) => {
    const row = Math.floor(element / inner);
    const [matrix, own] = [Math.floor(row / taken), row % taken];
    const within = element % inner;
    return {
      at: (matrix * rows + rowOf(own)) * inner + within,
      run: inner - within,
    };
  };
  const outer = elementCount(shape.slice(0, axis));
  const elements = outer * taken * inner;
  return { type, scales: { dtype: tensor.dtype, shape, grid, elements, lie } };
}

/** The number of rows taken of a matrix, and the stored row of each. */
function order(
  rows: number,
  selection: RowSelection | undefined,
): { taken: number; rowOf: (row: number) => number } {
  if (selection === undefined) return { taken: rows, rowOf: (row) => row };
  if ("half" in selection) {
    const half = rows / 2;
    return { taken: half, rowOf: (row) => selection.half * half + row };
  }
  const { of, taken } = selection;
  return {
    taken: (rows / of) * taken.length,
    rowOf: (row) =>
      Math.floor(row / taken.length) * of + taken[row % taken.length]!,
  };
}

/** Stacks `count` tensors of the same kind. */
export function stackedFloat8(
  { type, scales }: Float8Source,
  count: number,
): Float8Source {
  if (!scales) return { type };
  const { dtype, shape, grid, elements, lie } = scales;
  const stored = elementCount(shape);
  return {
    type,
    scales: {
      dtype,
      shape: [count, ...shape],
      grid: { blocks: [1, ...grid.blocks], counts: [count, ...grid.counts] },
      elements: count * elements,
      lie(element) {
        const number = Math.floor(element / elements);
        const { at, run } = lie(element % elements);
        return { at: number * stored + at, run };
      },
    },
  };
}

/** Equal for tensors that can be stacked. */
export function float8Kind({ type, scales }: Float8Source): string {
  return JSON.stringify([type, scales?.dtype, scales?.grid]);
}
