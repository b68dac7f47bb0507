/** Reads the next stretch of a text in the bucket as words. */
import type { Reservation } from "../../memory/ledger.ts";
import { TextStream } from "../../tokenizers/text-stream.ts";
import { FileSource } from "../../formats/stream/file-source.ts";
import { readPinned } from "../job/pinned-file.ts";
import type { Work } from "./tokenization-store.ts";

/** Bytes per alarm: half a second of work, which is what a crash repeats. */
const STRETCH_BYTES = 4 * 1024 * 1024;
/** Bytes whose words are in memory at once. */
const PIECE_BYTES = 64 * 1024;
/** After this many bytes, the thread is yielded to others. */
const REST_BYTES = 256 * 1024;

/**
 * Passes the words from `position` on to `take`, in batches. Returns the position after them; at the end of the text,
 * its length.
 */
export async function takeWords(
  bucket: R2Bucket,
  { text, position }: Pick<Work, "text" | "position">,
  reservation: Reservation,
  take: (words: string[]) => unknown,
): Promise<number> {
  const source = new FileSource<typeof text>(
    (...range) => readPinned(bucket, ...range),
    [{ file: text, start: position, end: text.bytes }],
  );
  const stream = new TextStream();
  try {
    const end = Math.min(text.bytes, position + STRETCH_BYTES);
    for (let at = position; at < end;) {
      const length = Math.min(PIECE_BYTES, end - at);
      await take(stream.push(await source.take(length)));
      at += length;
      if ((at - position) % REST_BYTES !== 0) continue;
      reservation.touch();
      await scheduler.wait(0);
    }
    if (end < text.bytes) return end - stream.heldBytes;
    await take(stream.end());
    return end;
  } finally {
    source.release();
  }
}
