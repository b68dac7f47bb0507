/** Reads rows of a stored tensor in the model's order, whatever the order in the file. */
import type { CheckpointTensor, GgmlTensor } from "./checkpoint.ts";
import type { RangedFile } from "./read-heads.ts";

type Rows = Pick<CheckpointTensor | GgmlTensor, "start" | "headRows">;

/**
 * Reads rows [first, end) of `rowBytes` each. If the rows of a head are interleaved, row i of its first half is row 2i
 * in the file, and of its second half 2i + 1; both are read together.
 */
export async function readRows(
  file: RangedFile,
  { start, headRows }: Rows,
  rowBytes: number,
  first: number,
  end: number,
): Promise<Uint8Array> {
  const read = (from: number, to: number): Promise<Uint8Array> =>
    file.read(start + rowBytes * from, start + rowBytes * to);
  if (headRows === undefined) return read(first, end);
  const half = headRows / 2;
  const rows = new Uint8Array(rowBytes * (end - first));
  for (let row = first; row < end;) {
    const place = row % half;
    const count = Math.min(half - place, end - row);
    const side = Math.floor(row / half) % 2;
    const from = row - side * half + place + side;
    const bytes = await read(from, from + 2 * count - 1);
    for (let i = 0; i < count; i++) {
      const own = bytes.subarray(2 * i * rowBytes, (2 * i + 1) * rowBytes);
      rows.set(own, (row - first + i) * rowBytes);
    }
    row += count;
  }
  return rows;
}
