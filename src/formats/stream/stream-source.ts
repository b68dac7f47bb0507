/** Any stream as a source of bytes. */
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
      const part = value.subarray(0, bytes - length);
      taken.set(part, length);
      length += part.length;
      this.#rest = value.subarray(part.length);
    }
    return taken;
  }

  async cancel(reason?: unknown): Promise<void> {
    await this.#reader.cancel(reason);
  }
}
