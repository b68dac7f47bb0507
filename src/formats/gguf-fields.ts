/** The fields of a GGUF head, taken one by one, since only they tell how long it is. */
import { AppError } from "../api/errors.ts";
import { malformedFile } from "./malformed.ts";
import type { ByteSource } from "./source.ts";

/** Vocabularies are in the head, with all their tokens. */
const MAX_HEAD_BYTES = 32 * 1024 * 1024;

export class GgufFields {
  readonly #source: ByteSource;
  readonly #limit: number;
  position: number;
  #marked = new Uint8Array(1024);
  #markedBytes = 0;

  constructor(source: ByteSource, position: number, fileBytes: number) {
    this.#source = source;
    this.position = position;
    this.#limit = Math.min(fileBytes, MAX_HEAD_BYTES);
  }

  /** What is taken from here on is what `marked` returns. */
  mark(): void {
    this.#markedBytes = 0;
  }

  marked(): Uint8Array {
    return this.#marked.slice(0, this.#markedBytes);
  }

  async uint32(): Promise<number> {
    const bytes = await this.#take(4);
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  }

  /** A u64 that counts things of at least a byte, so that the limit bounds it; or up to `most`. */
  async count(most = this.#limit): Promise<number> {
    const bytes = await this.#take(8);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const count = Number(view.getBigUint64(0, true));
    if (count > most) {
      throw malformedFile("GGUF", `a count of at most ${most}`, `${count}`);
    }
    return count;
  }

  async string(): Promise<string> {
    const bytes = await this.#take(await this.count());
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
        bytes,
      );
    } catch (cause) {
      throw new AppError(
        "malformed_body",
        `Expected GGUF with names in UTF-8, got ${bytes.length} bytes that are none`,
        { cause },
      );
    }
  }

  async skip(bytes: number): Promise<void> {
    await this.#take(bytes);
  }

  async #take(bytes: number): Promise<Uint8Array> {
    if (this.position + bytes > this.#limit) {
      throw malformedFile(
        "GGUF",
        `a head of at most ${this.#limit} bytes`,
        `a field that ends at ${this.position + bytes}`,
      );
    }
    const taken = await this.#source.take(bytes);
    this.position += bytes;
    const end = this.#markedBytes + bytes;
    if (end > this.#marked.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#marked.length));
      larger.set(this.#marked.subarray(0, this.#markedBytes));
      this.#marked = larger;
    }
    this.#marked.set(taken, this.#markedBytes);
    this.#markedBytes = end;
    return taken;
  }
}
