/** Reads a request's body of a known length piece by piece. */
import { AppError } from "../../api/errors.ts";
import { free } from "../../memory/free.ts";

export const PIECE_BYTES = 64 * 1024;

/** Each piece reuses the memory of the previous one. */
export class Pieces {
  readonly #reader: ReadableStreamBYOBReader | undefined;
  readonly #bytes: number;
  #buffer = new ArrayBuffer(PIECE_BYTES);
  #taken = 0;

  /** `bytes`: the expected length. */
  constructor(body: ReadableStream<Uint8Array> | null, bytes: number) {
    this.#reader = body?.getReader({ mode: "byob" });
    this.#reader?.closed.catch(() => {});
    this.#bytes = bytes;
  }

  /** 1 to `most` bytes. Errors: `malformed_body` if the body is shorter */
  async next(most: number): Promise<Uint8Array<ArrayBuffer>> {
    const piece = await this.#read(Math.min(most, PIECE_BYTES));
    if (piece.length === 0) throw this.#wrongLength();
    return piece;
  }

  /** Errors: `malformed_body` if the body is longer */
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
