/**
 * Bytes that responses may still be reading after their owner has dropped them; freed after the last. (A Response
 * made of a buffer would hold it until the Response is garbage-collected, which V8 does late, since it does not count
 * the buffer.)
 */
import { free } from "./free.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Streams also hold the chunks written to them until garbage collection, so all responses are written from a few
 * reused buffers.
 */
const PIECE_BYTES = 256 * 1024;
const pieces: Bytes[] = [];

export class SharedBytes {
  readonly bytes: Bytes;
  #readers = 0;
  #isDropped = false;

  constructor(bytes: Bytes) {
    this.bytes = bytes;
  }

  /**
   * All bytes as a body; `written` resolves when everything was written or the reader has left. `onPiece` is called for
   * each piece that was read.
   */
  read(onPiece?: () => void): {
    body: ReadableStream<Uint8Array>;
    written: Promise<void>;
  } {
    const { readable, writable } = new FixedLengthStream(this.bytes.length);
    this.#readers++;
    const written = this.#write(writable.getWriter(), onPiece)
      // The reader has left.
      .catch(() => {})
      .finally(() => {
        this.#readers--;
        this.#freeUnread();
      });
    return { body: readable, written };
  }

  /** The owner does not need the bytes any more. */
  drop(): void {
    this.#isDropped = true;
    this.#freeUnread();
  }

  #freeUnread(): void {
    if (this.#isDropped && this.#readers === 0) free(this.bytes);
  }

  async #write(
    writer: WritableStreamDefaultWriter<Uint8Array>,
    onPiece?: () => void,
  ): Promise<void> {
    await writeInPieces(writer, this.bytes, onPiece);
    await writer.close();
  }
}

/** Writes all of `bytes`, which may be freed once this has resolved. */
export async function writeInPieces(
  writer: WritableStreamDefaultWriter<Uint8Array>,
  bytes: Bytes,
  onPiece: () => void = () => {},
): Promise<void> {
  const piece = pieces.pop() ?? new Uint8Array(PIECE_BYTES);
  try {
    for (let from = 0; from < bytes.length; from += PIECE_BYTES) {
      const part = bytes.subarray(from, from + PIECE_BYTES);
      piece.set(part);
      await writer.write(piece.subarray(0, part.length));
      onPiece();
    }
  } finally {
    pieces.push(piece);
  }
}
