/** Pages of a corpus, so that a trainer's token windows cost few requests. */
import type { ReadTokens } from "./data.ts";

const PAGE_TOKENS = 64 * 1024;
const MAX_PAGES = 64;

/** Bytes that a cache of a corpus of `tokens` holds at most; a token is a byte. */
export function cachedTokenBytes(tokens: number): number {
  return Math.min(tokens, MAX_PAGES * PAGE_TOKENS);
}

/**
 * Reads windows through pages of 64 Ki tokens and keeps the 64 pages used last, 4 MiB of byte
 * tokens. Windows that miss the same page at the same time share one request.
 */
export class TokenCache {
  readonly #read: ReadTokens;
  readonly #tokens: number;
  /** In order of use, the latest last. */
  readonly #pages = new Map<number, Promise<Uint8Array>>();

  /** `tokens` is the corpus's length; `read` is never asked for more. */
  constructor(tokens: number, read: ReadTokens) {
    this.#tokens = tokens;
    this.#read = read;
  }

  /** Token ids at `[start, start + length)`, copied. */
  async read(start: number, length: number): Promise<Uint8Array> {
    const window = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const position = start + done;
      const page = Math.floor(position / PAGE_TOKENS);
      const from = position - page * PAGE_TOKENS;
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

  #page(page: number): Promise<Uint8Array> {
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

  async #fetchPage(page: number): Promise<Uint8Array> {
    const start = page * PAGE_TOKENS;
    const length = Math.min(PAGE_TOKENS, this.#tokens - start);
    if (length <= 0) return new Uint8Array(0);
    try {
      return await this.#read(start, length);
    } catch (error) {
      this.#pages.delete(page);
      throw error;
    }
  }
}
