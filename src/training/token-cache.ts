/** Caches pages of a corpus, so that reading a trainer's token windows takes few requests. */
import type { PinnedDataset } from "../api/dataset.ts";
import type { ReadTokens, Tokens } from "./data.ts";

const PAGE_BYTES = 64 * 1024;
const MAX_PAGES = 64;

type CachedDataset = Pick<PinnedDataset, "tokens" | "tokenizer">;

/** The most bytes that the cache of a corpus holds. */
export function cachedTokenBytes(dataset: CachedDataset): number {
  return Math.min(
    dataset.tokens * bytesPerToken(dataset),
    MAX_PAGES * PAGE_BYTES,
  );
}

export function bytesPerToken({
  tokenizer,
}: Pick<PinnedDataset, "tokenizer">): number {
  return tokenizer === "byte"
    ? Uint8Array.BYTES_PER_ELEMENT
    : Uint16Array.BYTES_PER_ELEMENT;
}

/**
 * Reads windows through pages of 64 KiB, and keeps the 64 most recently used, 4 MiB. Concurrent reads of a missing
 * page share one request.
 */
export class TokenCache {
  readonly #read: ReadTokens;
  readonly #tokens: number;
  readonly #pageTokens: number;
  readonly #Tokens: { new (length: number): Tokens };
  /** In order of use, the latest last. */
  readonly #pages = new Map<number, Promise<Tokens>>();

  /** `read` is only called with ranges within the dataset. */
  constructor(dataset: CachedDataset, read: ReadTokens) {
    this.#tokens = dataset.tokens;
    this.#pageTokens = PAGE_BYTES / bytesPerToken(dataset);
    this.#Tokens = dataset.tokenizer === "byte" ? Uint8Array : Uint16Array;
    this.#read = read;
  }

  /** Token ids at `[start, start + length)`, copied. */
  async read(start: number, length: number): Promise<Tokens> {
    const window = new this.#Tokens(length);
    for (let done = 0; done < length;) {
      const position = start + done;
      const page = Math.floor(position / this.#pageTokens);
      const from = position - page * this.#pageTokens;
      const part = (await this.#page(page)).subarray(
        from,
        from + length - done,
      );
      if (part.length === 0) {
        throw new RangeError(
          `Expected a window within ${this.#tokens} tokens, got [${start}, ${start + length})`,
        );
      }
      window.set(part, done);
      done += part.length;
    }
    return window;
  }

  #page(page: number): Promise<Tokens> {
    const kept = this.#pages.get(page);
    this.#pages.delete(page);
    const tokens = kept ?? this.#fetchPage(page);
    this.#pages.set(page, tokens);
    if (this.#pages.size > MAX_PAGES) {
      const [oldest] = this.#pages.keys();
      this.#pages.delete(oldest!);
    }
    return tokens;
  }

  async #fetchPage(page: number): Promise<Tokens> {
    const start = page * this.#pageTokens;
    const length = Math.min(this.#pageTokens, this.#tokens - start);
    if (length <= 0) return new this.#Tokens(0);
    try {
      return await this.#read(start, length);
    } catch (error) {
      this.#pages.delete(page);
      throw error;
    }
  }
}
