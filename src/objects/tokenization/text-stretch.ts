/** The next stretch of a text in the bucket, as words. */
import type { Reservation } from "../../memory/ledger.ts";
import { TextStream } from "../../tokenizers/text-stream.ts";
import { FileSource } from "../../formats/stream/file-source.ts";
import { readPinned } from "../job/pinned-file.ts";
import type { Work } from "./tokenization-store.ts";

/** In one alarm: half a second's work, and what a crash costs. */
const STRETCH_BYTES = 4 * 1024 * 1024;
/** Whose words are in memory at once. */
const PIECE_BYTES = 64 * 1024;
/** Others get their turn on the thread after so much. */
const REST_BYTES = 256 * 1024;

/**
 * Give the words that follow `position` to `take`, some at a time. Returns the position behind them, which
 * is the text's end when it is through.
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
