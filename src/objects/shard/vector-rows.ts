/** An f32 vector as rows of at most 1 MiB, since a row may not be larger than 2 MB. */
export const ROW_LENGTH = 256 * 1024;

/** The rows of `vector`, in order. */
export function* toRows(
  vector: Float32Array<ArrayBuffer>,
): Generator<{ row: number; bytes: Uint8Array<ArrayBuffer> }> {
  for (let row = 0; row * ROW_LENGTH < vector.length; row++) {
    const part = vector.slice(row * ROW_LENGTH, (row + 1) * ROW_LENGTH);
    yield { row, bytes: new Uint8Array(part.buffer) };
  }
}

/** The other way: `rows` in order, `length` elements in all. */
export function fromRows(
  rows: Iterable<{ value: ArrayBuffer }>,
  length: number,
): Float32Array<ArrayBuffer> {
  const vector = new Float32Array(length);
  let from = 0;
  for (const { value } of rows) {
    vector.set(new Float32Array(value), from);
    from += value.byteLength / 4;
  }
  if (from !== length) {
    throw new Error(`Expected ${length} stored elements, got ${from}`);
  }
  return vector;
}
