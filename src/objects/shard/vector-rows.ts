/** Stores an f32 vector as rows of at most 1 MiB, since SQLite rows are limited to 2 MB. */
import { free } from "../../memory/free.ts";

export const ROW_LENGTH = 256 * 1024;

/** The rows of `vector`, in order, as views. */
export function* toRows(
  vector: Float32Array<ArrayBuffer>,
): Generator<{ row: number; bytes: Uint8Array<ArrayBuffer> }> {
  for (let row = 0; row * ROW_LENGTH < vector.length; row++) {
    const part = vector.subarray(row * ROW_LENGTH, (row + 1) * ROW_LENGTH);
    const { buffer, byteOffset, byteLength } = part;
    yield { row, bytes: new Uint8Array(buffer, byteOffset, byteLength) };
  }
}

/** The inverse: `rows` in order, `length` elements in all. */
export function fromRows(
  rows: Iterable<{ value: ArrayBuffer }>,
  length: number,
): Float32Array<ArrayBuffer> {
  const vector = new Float32Array(length);
  let from = 0;
  for (const { value } of rows) {
    const part = new Float32Array(value);
    vector.set(part, from);
    from += part.length;
    free(part);
  }
  if (from !== length) {
    throw new Error(`Expected ${length} stored elements, got ${from}`);
  }
  return vector;
}
