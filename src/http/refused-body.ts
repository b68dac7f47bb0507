/**
 * What a refused request has left of its body. Behind a body that nobody has read the runtime closes the connection: who
 * keeps it open loses the next request, and who is still sending may lose the answer itself.
 */
import { free } from "../memory/free.ts";

/** What is little and comes at once is taken before the answer: the connection stays. */
const LITTLE_BYTES = 64 * 1024;
const AT_ONCE_MS = 500;
/** Of what is more, beside the answer: the largest part of an upload, for as long as a client needs to see that it is refused. */
const BESIDE_BYTES = 32 * 1024 * 1024;
const BESIDE_MS = 5_000;
const PIECE_BYTES = 64 * 1024;

/**
 * `answer`, as whoever sent `request` sees it: all its bytes go at once, and its end comes when the body has, or was
 * waited for. `lasts` is told of what goes on until then.
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
  // Who has left needs no answer.
  lasts(send().catch(() => {}));
  return new Response(readable, answer);
}

/** Reads into the piece that it is given, where the stream can. */
type PieceReader = {
  read(
    piece: Uint8Array<ArrayBuffer>,
  ): Promise<{ value?: Uint8Array | undefined; done: boolean }>;
  cancel(): Promise<void>;
};

/** What comes from a network is a stream of bytes; one of objects hands out pieces of its own. */
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
  /** The one that nobody has waited for to its end; whether more may come behind it. */
  #reading: Promise<boolean> | undefined;
  #bytes = 0;

  constructor(body: ReadableStream<Uint8Array>) {
    this.#reader = pieceReader(body);
  }

  /** Whether all of it has come, or it has broken off, within so many bytes and so long. */
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

  /** A body that is not over breaks off here. */
  async end(): Promise<void> {
    // One that failed cannot be cancelled, and need not be.
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
