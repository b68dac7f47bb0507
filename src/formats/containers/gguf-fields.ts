/**
 * Reads the fields of a GGUF header one by one, since only they tell its length. No memory is allocated on the basis
 * of a length that the data has not confirmed.
 */
import { concatenate } from "../stream/bytes.ts";
import { malformedFile } from "./malformed.ts";
import type { ByteSource } from "../stream/source.ts";

const malformed = malformedFile("GGUF");

/** The header includes the vocabulary with all tokens. */
const MAX_HEAD_BYTES = 32 * 1024 * 1024;
/** Headers longer than this are announced before they are read. */
const LONG_HEAD_BYTES = 1024 * 1024;
/** Limit of a key or tensor name. */
const MAX_NAME_BYTES = 65_535;
const LENGTH_BYTES = 8;
const BLOCK_BYTES = 64 * 1024;

export class GgufFields {
  readonly #source: ByteSource;
  readonly #limit: number;
  #beforeLongHead: ((most: number) => Promise<void>) | undefined;
  #position: number;
  /** Recorded bytes: full blocks, and a partial one. */
  #blocks: Uint8Array[] | undefined;
  #block = new Uint8Array(BLOCK_BYTES);
  #blockBytes = 0;

  /** `beforeLongHead` is awaited once if the header turns out long, with its maximum size. */
  constructor(
    source: ByteSource,
    position: number,
    fileBytes: number,
    beforeLongHead?: (most: number) => Promise<void>,
  ) {
    this.#source = source;
    this.#position = position;
    this.#limit = Math.min(fileBytes, MAX_HEAD_BYTES);
    this.#beforeLongHead = beforeLongHead;
  }

  /** Position of the next field in the file. */
  get position(): number {
    return this.#position;
  }

  /** Returns the bytes of all fields read by `body`; empty if it calls `forget`. */
  async record(body: () => Promise<void>): Promise<Uint8Array> {
    const blocks: Uint8Array[] = (this.#blocks = []);
    this.#blockBytes = 0;
    await body();
    if (!this.#blocks) return new Uint8Array(0);
    this.#blocks = undefined;
    const bytes = blocks.length * BLOCK_BYTES + this.#blockBytes;
    const last = this.#block.subarray(0, this.#blockBytes);
    return concatenate(bytes, [...blocks, last]);
  }

  /** Drops the current recording, to save memory. */
  forget(): void {
    this.#blocks = undefined;
  }

  async uint32(): Promise<number> {
    const bytes = await this.#take(4);
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  }

  async uint64(): Promise<bigint> {
    const bytes = await this.#take(8);
    return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  }

  /**
   * A u64 count of entries of at least `least` bytes that follow. Errors: `malformed_body` if they do not fit into
   * the rest of the file
   */
  async count(what: string, least: number): Promise<number> {
    const count = await this.uint64();
    return checkRoom(what, count, (this.#limit - this.#position) / least);
  }

  /** A key or tensor name. Errors: `malformed_body` if it is too long or not UTF-8 */
  async name(): Promise<string> {
    const length = await this.count("bytes of a name", 1);
    if (length > MAX_NAME_BYTES) {
      throw malformed(`names of at most ${MAX_NAME_BYTES} bytes`, `${length}`);
    }
    const bytes = await this.#take(length);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
        bytes,
      );
    } catch {
      throw malformed("names in UTF-8", `${length} bytes that are none`);
    }
  }

  /** Skips bytes. Errors: `malformed_body` if the file, or the longest allowed header, ends before */
  async skip(bytes: number): Promise<void> {
    for (let left = bytes; left > 0; left -= BLOCK_BYTES)
      await this.#take(Math.min(left, BLOCK_BYTES));
  }

  /** Skips `count` strings, possibly a million; reads many lengths at a time. Errors: those of `skip` and `count` */
  async skipStrings(count: number): Promise<void> {
    let rest = new Uint8Array(0);
    for (let left = count; left > 0;) {
      // Each remaining string has at least a length field, so these bytes all belong to them.
      const bytes = Math.min(left * LENGTH_BYTES, BLOCK_BYTES);
      const taken = await this.#take(bytes - rest.length);
      const window = concatenate(bytes, [rest, taken]);
      const view = new DataView(window.buffer);
      let at = 0;
      for (; left > 0 && at + LENGTH_BYTES <= bytes; left--) {
        const length = view.getBigUint64(at, true);
        at += LENGTH_BYTES;
        const room = this.#limit - this.#position + bytes - at;
        at += checkRoom("bytes of a string", length, room);
      }
      rest = window.slice(at);
      await this.skip(at - bytes);
    }
  }

  async #take(bytes: number): Promise<Uint8Array> {
    const end = this.#position + bytes;
    if (end > this.#limit) {
      throw malformed(
        `a head of at most ${this.#limit} bytes`,
        `a field that ends at ${end}`,
      );
    }
    if (end > LONG_HEAD_BYTES && this.#beforeLongHead) {
      const beforeLongHead = this.#beforeLongHead;
      this.#beforeLongHead = undefined;
      await beforeLongHead(this.#limit);
    }
    const taken = await this.#source.take(bytes);
    this.#position = end;
    if (this.#blocks) this.#write(taken, this.#blocks);
    return taken;
  }

  #write(bytes: Uint8Array, blocks: Uint8Array[]): void {
    for (let start = 0; start < bytes.length;) {
      const part = bytes.subarray(
        start,
        start + BLOCK_BYTES - this.#blockBytes,
      );
      this.#block.set(part, this.#blockBytes);
      this.#blockBytes += part.length;
      start += part.length;
      if (this.#blockBytes < BLOCK_BYTES) continue;
      blocks.push(this.#block);
      this.#block = new Uint8Array(BLOCK_BYTES);
      this.#blockBytes = 0;
    }
  }
}

function checkRoom(what: string, count: bigint, room: number): number {
  const most = Math.max(0, Math.floor(room));
  if (count <= most) return Number(count);
  throw malformed(
    `at most ${most} ${what}, for which there is room`,
    `${count}`,
  );
}
