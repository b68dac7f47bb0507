/** Writes a file from small chunks, while the next ones are computed. */
import type { FileHandle } from "node:fs/promises";

/** Size of a write: writing each small chunk would take longer than computing it. */
const GATHERED_BYTES = 1024 * 1024;

/** Receives what was written, in order, and returns its buffer. */
export type OnWritten = (
  written: Uint8Array<ArrayBuffer>,
) => Promise<Uint8Array<ArrayBuffer>>;

/** Writes all `chunks`, each of which may be overwritten by the next; returns the number of bytes. */
export async function writeBehind(
  handle: FileHandle,
  chunks: AsyncIterable<Uint8Array>,
  look: OnWritten = (written) => Promise.resolve(written),
): Promise<number> {
  const put = async (full: Uint8Array<ArrayBuffer>) => {
    await handle.writeFile(full);
    return new Uint8Array((await look(full)).buffer);
  };
  let gathered = new Uint8Array(GATHERED_BYTES);
  let spare = Promise.resolve(new Uint8Array(GATHERED_BYTES));
  let length = 0;
  let bytes = 0;
  const turn = async (): Promise<void> => {
    const free = await spare;
    spare = put(gathered.subarray(0, length));
    spare.catch(() => {
      // Awaited before the next write, or at the end.
    });
    gathered = free;
    length = 0;
  };
  for await (const chunk of chunks) {
    bytes += chunk.length;
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + GATHERED_BYTES - length);
      gathered.set(part, length);
      length += part.length;
      at += part.length;
      if (length === GATHERED_BYTES) await turn();
    }
  }
  await turn();
  await spare;
  return bytes;
}
