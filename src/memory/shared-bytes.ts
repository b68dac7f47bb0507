/**
 * Bytes that answers go on reading after their owner has let go of them; they are freed with the last. A response that is made
 * of a buffer holds it until the response itself is collected, even one that was freed: V8 does not count that, and collects late.
 */
import { free } from "./free.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What was written to a stream it holds until a collection too, so all answers are written from a few buffers. */
const PIECE_BYTES = 256 * 1024;
const pieces: Bytes[] = [];

export class SharedBytes {
  readonly bytes: Bytes;
  #readers = 0;
  #isDropped = false;

  constructor(bytes: Bytes) {
    this.bytes = bytes;
  }

  /** All of them, as a body. */
  read(): ReadableStream<Uint8Array> {
    return this.readWhole().body;
  }

  /** As `read`; `written` when all are, or the reader has left. Each piece that was taken is told. */
  readWhole(onPiece?: () => void): {
    body: ReadableStream<Uint8Array>;
    written: Promise<void>;
  } {
    const { readable, writable } = new FixedLengthStream(this.bytes.length);
    this.#readers++;
    const written = this.#write(writable.getWriter(), onPiece)
      // Whoever reads it has left.
      .catch(() => {})
      .finally(() => {
        this.#readers--;
        this.#freeUnread();
      });
    return { body: readable, written };
  }

  /** The owner needs them no longer. */
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

/** All of `bytes`, which may be freed once this returns. */
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
