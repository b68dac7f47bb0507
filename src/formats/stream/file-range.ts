/** Ranges of files' bytes, possibly with rows in another order. */
import type { ReusedMemory } from "./reused-memory.ts";

/** A range of a file's bytes, read in order. */
export type FileRange<File> = {
  file: File;
  start: number;
  end: number;
  /** Rows to read, and their order; default: all in order. */
  rows?: RowOrder | undefined;
};

/** Of every `of` rows of `rowBytes`, those in `taken` are read, in this order. */
type RowOrder = {
  rowBytes: number;
  of: number;
  taken: readonly number[];
};

/** The number of bytes read. */
export function runBytes({ start, end, rows }: FileRange<unknown>): number {
  const all = end - start;
  return rows ? (all / rows.of) * rows.taken.length : all;
}

export function bytesOfRuns(runs: readonly FileRange<unknown>[]): number {
  return runs.reduce((sum, run) => sum + runBytes(run), 0);
}

/** Joins adjacent ranges, so that small tensors are read together. */
export function joinedRanges<File>(
  runs: readonly FileRange<File>[],
): FileRange<File>[] {
  const whole: FileRange<File>[] = [];
  for (const run of runs) {
    const last = whole.at(-1);
    const follows =
      last?.file === run.file &&
      last.end === run.start &&
      !last.rows &&
      !run.rows;
    if (follows) whole[whole.length - 1] = { ...last, end: run.end };
    else if (run.end > run.start) whole.push(run);
  }
  return whole;
}

/** Reorders the rows of whole turns (groups of `of` rows), using memory of `room`. */
export function inOrder(
  bytes: Uint8Array,
  { rowBytes, of, taken }: RowOrder,
  room: ReusedMemory,
): Uint8Array {
  const turns = bytes.length / (rowBytes * of);
  const out = room.take(turns * taken.length * rowBytes, 0);
  const element = rowBytes % 4 === 0 ? 4 : rowBytes % 2 === 0 ? 2 : 1;
  // Rows may be single values, for which separate copies would be slow.
  const Words = { 4: Uint32Array, 2: Uint16Array, 1: Uint8Array }[element];
  const aligned = bytes.byteOffset % element === 0 ? bytes : bytes.slice();
  const from = new Words(
    aligned.buffer as ArrayBuffer,
    aligned.byteOffset,
    bytes.length / element,
  );
  const to = new Words(out.buffer, 0, out.length / element);
  const length = rowBytes / element;
  let at = 0;
  for (let turn = 0; turn < turns; turn++)
    for (const row of taken) {
      const start = (turn * of + row) * length;
      for (let i = 0; i < length; i++) to[at++] = from[start + i]!;
    }
  return out;
}
