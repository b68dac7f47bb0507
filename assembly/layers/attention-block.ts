/** Shared by both passes of attention: the size of a block of queries, and helpers. */
import { B_WIDTH } from "../floats/tile-f32";

/** Rows that are computed up to the same key: those of a tall tile of the f32 GEMM, a divisor of QUERY_BLOCK. */
// @ts-ignore: decorator
@inline export const GROUP: i32 = 8;
/** Query rows of a block. */
// @ts-ignore: decorator
@inline export const QUERY_BLOCK: i32 = 64;

/** One number for each row of a group, kept between the passes over its scores: f32 [GROUP]. */
// @ts-ignore: decorator
@inline export const OF_ROWS: usize = memory.data(32, 16);

/** x[from … to) = value */
// @ts-ignore: decorator
@inline
export function fillRow(x: usize, from: i32, to: i32, value: f32): void {
  for (let i = from; i < to; i++) store<f32>(x + bytes(i), value);
}

/** Bytes of `elements` f32. */
// @ts-ignore: decorator
@inline
export function bytes(elements: i32): usize {
  return <usize>elements << 2;
}

// @ts-ignore: decorator
@inline
export function roundUp(value: i32, multiple: i32): i32 {
  return ((value + multiple - 1) / multiple) * multiple;
}
