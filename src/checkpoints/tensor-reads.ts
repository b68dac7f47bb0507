/** Bytes of a checkpoint's files in the order that a conversion takes them. */
import type { ByteSource } from "../formats/stream/source.ts";
import { concatenate } from "../formats/stream/bytes.ts";
import type { RangedFile } from "./read-heads.ts";

/** A part of a file, counted from its first byte. */
export type TensorRead = {
  file: string;
  start: number;
  end: number;
  /** Which of its rows, and in which order; all as they lie unless told. */
  rows?: RowOrder;
};

/** Of every `of` rows, of `rowBytes` each, those that are taken, in this order. */
type RowOrder = {
  rowBytes: number;
  of: number;
  taken: readonly number[];
};

/** What is read of a file at a time: rows in another order, in whole turns. */
const WINDOW_BYTES = 4 * 1024 * 1024;

/** How many bytes come of it. */
export function readBytes({ start, end, rows }: TensorRead): number {
  const all = end - start;
  return rows ? (all / rows.of) * rows.taken.length : all;
}

/** One behind the other, in windows; `onTaken` is told of bytes as they are taken. */
export function readInOrder(
  reads: readonly TensorRead[],
  files: ReadonlyMap<string, RangedFile>,
  onTaken: (bytes: number) => void,
  windowBytes = WINDOW_BYTES,
): ByteSource {
  let next = 0;
  let position: number | undefined;
  let window = new Uint8Array(0);
  /** What comes next, at least `wanted` bytes where the part has them. */
  async function more(wanted: number): Promise<Uint8Array<ArrayBuffer>> {
    const { file, start, end, rows } = reads[next]!;
    position ??= start;
    const turn = rows ? rows.rowBytes * rows.of : 1;
    const bytes = Math.max(wanted, windowBytes);
    const until = Math.min(position + Math.ceil(bytes / turn) * turn, end);
    const read = await files.get(file)!.read(position, until);
    position = until;
    if (until === end) [next, position] = [next + 1, undefined];
    return (rows ? ordered(read, rows) : read) as Uint8Array<ArrayBuffer>;
  }
  return {
    async take(bytes) {
      while (window.length < bytes) {
        const read = await more(bytes - window.length);
        window =
          window.length === 0
            ? read
            : concatenate(window.length + read.length, [window, read]);
      }
      const taken = window.subarray(0, bytes);
      window = window.subarray(bytes);
      onTaken(bytes);
      return taken;
    },
  };
}

/** The rows that are taken of whole turns. */
function ordered(
  bytes: Uint8Array,
  { rowBytes, of, taken }: RowOrder,
): Uint8Array<ArrayBuffer> {
  const turns = bytes.length / (rowBytes * of);
  const out = new Uint8Array(turns * taken.length * rowBytes);
  const element = rowBytes % 4 === 0 ? 4 : rowBytes % 2 === 0 ? 2 : 1;
  // Rows may be single values, which a copy for each would make slow.
  const Words = { 4: Uint32Array, 2: Uint16Array, 1: Uint8Array }[element];
  const aligned = bytes.byteOffset % element === 0 ? bytes : bytes.slice();
  const from = new Words(
    aligned.buffer as ArrayBuffer,
    aligned.byteOffset,
    bytes.length / element,
  );
  const to = new Words(out.buffer);
  const length = rowBytes / element;
  let at = 0;
  for (let turn = 0; turn < turns; turn++)
    for (const row of taken) {
      const start = (turn * of + row) * length;
      for (let i = 0; i < length; i++) to[at++] = from[start + i]!;
    }
  return out;
}
