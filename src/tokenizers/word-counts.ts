/** Counts the words of a text in bounded memory; can be saved as bytes. */

export type CountLimits = {
  /** Number of distinct words. */
  words: number;
  /** Their bytes together, in UTF-8. */
  bytes: number;
};

/** Limits for training a tokenizer. Fixed: other limits would give a text other merges. */
export const COUNT_LIMITS: CountLimits = {
  words: 131_072,
  bytes: 896 * 1024,
};
/** Longer words are not counted. */
export const MAX_WORD_BYTES = 256;

/** Before each word: its count and its length in bytes, u32 little-endian each. */
const HEAD_BYTES = 8;

const utf8 = new TextEncoder();

export class WordCounts {
  readonly #counts = new Map<string, number>();
  readonly #limits: CountLimits;
  #bytes = 0;

  /** `saved`: written by `save`. */
  constructor(limits: CountLimits, saved = new Uint8Array()) {
    this.#limits = limits;
    const text = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });
    for (const { bytes, count } of savedWords(saved)) {
      this.#counts.set(text.decode(bytes), count);
      this.#bytes += bytes.length;
    }
  }

  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  add(words: Iterable<string>): void {
    for (const word of words) {
      const count = this.#counts.get(word);
      if (count !== undefined) {
        this.#counts.set(word, count + 1);
        continue;
      }
      if (word.length > MAX_WORD_BYTES) continue;
      const bytes = utf8.encode(word).length;
      if (bytes > MAX_WORD_BYTES) continue;
      this.#counts.set(word, 1);
      this.#bytes += bytes;
      this.#forgetRare();
    }
  }

  /**
   * Beyond the limits, drops the rarest words until a quarter is free. Depends on the words and their order only, so
   * chunks of any sizes give the same result.
   */
  #forgetRare(): void {
    const { words, bytes } = this.#limits;
    if (this.#counts.size <= words && this.#bytes <= bytes) return;
    for (let rare = 1; this.#isCrowded(); rare *= 2) {
      for (const [word, count] of this.#counts) {
        if (count > rare) continue;
        this.#counts.delete(word);
        this.#bytes -= utf8.encode(word).length;
      }
    }
  }

  #isCrowded(): boolean {
    const { words, bytes } = this.#limits;
    return this.#counts.size > (words * 3) / 4 || this.#bytes > (bytes * 3) / 4;
  }

  save(): Uint8Array<ArrayBuffer> {
    const saved = new Uint8Array(this.#bytes + HEAD_BYTES * this.#counts.size);
    const view = new DataView(saved.buffer);
    let at = 0;
    for (const [word, count] of this.#counts) {
      const { written } = utf8.encodeInto(
        word,
        saved.subarray(at + HEAD_BYTES),
      );
      view.setUint32(at, count, true);
      view.setUint32(at + 4, written, true);
      at += HEAD_BYTES + written;
    }
    return saved;
  }
}

/** The words written by `save`, as views of it. */
export function* savedWords(
  saved: Uint8Array,
): Generator<{ bytes: Uint8Array; count: number }> {
  const view = new DataView(saved.buffer, saved.byteOffset, saved.byteLength);
  for (let at = 0; at < saved.length;) {
    const count = view.getUint32(at, true);
    const end = at + HEAD_BYTES + view.getUint32(at + 4, true);
    yield { bytes: saved.subarray(at + HEAD_BYTES, end), count };
    at = end;
  }
}
