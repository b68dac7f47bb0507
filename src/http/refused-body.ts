/**
 * Handles the unread rest of a refused request's body. If nobody reads it, the runtime closes the connection: a client
 * that keeps it open loses the next request, and one that is still sending may lose the answer itself.
 */
import { free } from "../memory/free.ts";

/** A short rest that arrives within this time is read before answering: the connection stays open. */
const LITTLE_BYTES = 64 * 1024;
const AT_ONCE_MS = 500;
/**
 * Of a longer rest, read while answering: up to an upload's largest part, long enough for the client to see the
 * refusal.
 */
const BESIDE_BYTES = 32 * 1024 * 1024;
const BESIDE_MS = 5_000;
const PIECE_BYTES = 64 * 1024;

/**
 * The answer for the client of `request`: its bytes are sent at once, but it ends only after the body has ended or the
 * limits are reached. `lasts` receives the work until then.
 */
export async function answerRefused(
  { body }: Request,
  answer: Response,
  lasts: (work: Promise<void>) => void,
): Promise<Response> {
  if (!body || body.locked) return answer;
  const rest = new Rest(body);
  if (await rest.take(LITTLE_BYTES, AT_ONCE_MS)) {
    await rest.end();
    return answer;
  }
  const bytes = await answer.bytes();
  const { readable, writable } = new FixedLengthStream(bytes.length);
  const writer = writable.getWriter();
  const send = async (): Promise<void> => {
    try {
      await writer.write(bytes);
      await rest.take(BESIDE_BYTES, BESIDE_MS);
    } finally {
      await rest.end();
      await writer.close();
    }
  };
  // A client that has left needs no answer.
  lasts(send().catch(() => {}));
  return new Response(readable, answer);
}

/** Reads into the given buffer, if the stream supports it. */
type PieceReader = {
  read(
    piece: Uint8Array<ArrayBuffer>,
  ): Promise<{ value?: Uint8Array | undefined; done: boolean }>;
  cancel(): Promise<void>;
};

/** Bodies from the network are byte streams; those from objects allocate their own chunks. */
function pieceReader(body: ReadableStream<Uint8Array>): PieceReader {
  try {
    return body.getReader({ mode: "byob" });
  } catch {
    const reader = body.getReader();
    return { read: () => reader.read(), cancel: () => reader.cancel() };
  }
}

class Rest {
  readonly #reader: PieceReader;
  #piece = new Uint8Array(PIECE_BYTES);
  /** A read that has not been awaited to its end; resolves to whether more may follow. */
  #reading: Promise<boolean> | undefined;
  #bytes = 0;

  constructor(body: ReadableStream<Uint8Array>) {
    this.#reader = pieceReader(body);
  }

  /** Whether the body ended or broke off within these limits. */
  async take(bytes: number, ms: number): Promise<boolean> {
    const late = new AbortController();
    const isLate = scheduler
      .wait(ms, { signal: late.signal })
      .then(() => "late");
    isLate.catch(() => {});
    this.#bytes = 0;
    try {
      while (this.#bytes <= bytes) {
        this.#reading ??= this.#read();
        const isMore = await Promise.race([this.#reading, isLate]);
        if (isMore === "late") return false;
        this.#reading = undefined;
        if (!isMore) return true;
      }
      return false;
    } finally {
      late.abort();
    }
  }

  /** Cancels a body that has not ended. */
  async end(): Promise<void> {
    // A body that failed cannot be cancelled, and need not be.
    await this.#reader.cancel().catch(() => {});
    if (this.#piece.byteLength > 0) free(this.#piece);
  }

  async #read(): Promise<boolean> {
    try {
      const { value, done } = await this.#reader.read(this.#piece);
      this.#bytes += value?.length ?? 0;
      if (value) this.#piece = new Uint8Array(value.buffer as ArrayBuffer);
      return !done;
    } catch {
      return false; // It broke off, which the refusal need not tell.
    }
  }
}
