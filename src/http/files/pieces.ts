/** A request's body of a known length, in pieces. */
import { AppError } from "../../api/errors.ts";
import { free } from "../../memory/free.ts";

export const PIECE_BYTES = 64 * 1024;

/** Each in the memory of the one before. */
export class Pieces {
  readonly #reader: ReadableStreamBYOBReader | undefined;
  readonly #bytes: number;
  #buffer = new ArrayBuffer(PIECE_BYTES);
  #taken = 0;

  /** `bytes` is what it should have. */
  constructor(body: ReadableStream<Uint8Array> | null, bytes: number) {
    this.#reader = body?.getReader({ mode: "byob" });
    this.#reader?.closed.catch(() => {});
    this.#bytes = bytes;
  }

  /** At least one byte, and at most `most`. Errors: `malformed_body` when there are no more */
  async next(most: number): Promise<Uint8Array<ArrayBuffer>> {
    const piece = await this.#read(Math.min(most, PIECE_BYTES));
    if (piece.length === 0) throw this.#wrongLength();
    return piece;
  }

  /** Errors: `malformed_body` when there is more */
  async expectEnd(): Promise<void> {
    if ((await this.#read(1)).length > 0) throw this.#wrongLength();
    free(new Uint8Array(this.#buffer));
  }

  async #read(most: number): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.#reader) return new Uint8Array(0);
    try {
      const view = new Uint8Array(this.#buffer, 0, most);
      const { value } = await this.#reader.readAtLeast(most, view);
      if (!value) return new Uint8Array(0);
      this.#buffer = value.buffer as ArrayBuffer;
      this.#taken += value.length;
      return value as Uint8Array<ArrayBuffer>;
    } catch (cause) {
      throw this.#wrongLength({ cause });
    }
  }

  #wrongLength(options?: ErrorOptions): AppError {
    return new AppError(
      "malformed_body",
      `Expected a body of ${this.#bytes} bytes, as Content-Length says; got ${this.#taken}`,
      options,
    );
  }
}
