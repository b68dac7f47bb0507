/** Any stream as a source of bytes. */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import { type ByteSource, endedEarly } from "./source.ts";

export class StreamSource implements ByteSource {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  /** What was read and not taken yet. */
  #rest: Uint8Array = new Uint8Array(0);

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  async take(bytes: number): Promise<Uint8Array> {
    if (this.#rest.length >= bytes) {
      const taken = this.#rest.subarray(0, bytes);
      this.#rest = this.#rest.subarray(bytes);
      return taken;
    }
    const taken = new Uint8Array(bytes);
    taken.set(this.#rest);
    for (let length = this.#rest.length; length < bytes;) {
      const { value, done } = await this.#reader.read();
      if (done) throw endedEarly(bytes, length);
      checkChunk(value);
      const part = value.subarray(0, bytes - length);
      taken.set(part, length);
      length += part.length;
      this.#rest = value.subarray(part.length);
    }
    return taken;
  }

  /** Errors: `malformed_body` when more came than was declared */
  async expectEnd(): Promise<void> {
    while (this.#rest.length === 0) {
      const { value, done } = await this.#reader.read();
      if (done) return;
      checkChunk(value);
      this.#rest = value;
    }
    throw new AppError(
      "malformed_body",
      "Expected the body to end at its declared length, got more",
    );
  }

  /** No more is read, and the stream is given back. */
  async cancel(reason?: unknown): Promise<void> {
    // A stream that failed cannot be cancelled, and need not be.
    await this.#reader.cancel(reason).catch(() => {});
    this.#reader.releaseLock();
  }
}

function checkChunk(chunk: unknown): asserts chunk is Uint8Array {
  if (chunk instanceof Uint8Array) return;
  throw new AppError(
    "malformed_body",
    `Expected a stream of Uint8Array, got ${shown(chunk)} in it`,
  );
}
