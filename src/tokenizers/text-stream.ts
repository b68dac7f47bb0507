/** Splits UTF-8 that arrives in chunks into words, as if it arrived at once. */
import { AppError } from "../api/errors.ts";
import { wordsOf } from "./byte-level.ts";

/** Largest text held back because more text may change its words. */
const MAX_HELD = 1024 * 1024;

const utf8 = new TextEncoder();

export class TextStream {
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #held = "";
  #pushed = 0;
  #taken = 0;

  /** Bytes received but not yet part of a word; a stream that starts with them continues this one. */
  get heldBytes(): number {
    return this.#pushed - this.#taken;
  }

  /** The words that are complete so far. Errors: `malformed_body` for invalid UTF-8 or an endless word */
  push(bytes: Uint8Array): string[] {
    this.#pushed += bytes.length;
    return this.#take(this.#decode(bytes, true), false);
  }

  /** The remaining words. Errors: as `push` */
  end(): string[] {
    return this.#take(this.#decode(new Uint8Array(), false), true);
  }

  #decode(bytes: Uint8Array, stream: boolean): string {
    try {
      return this.#utf8.decode(bytes, { stream });
    } catch {
      throw new AppError(
        "malformed_body",
        "Expected text in UTF-8, got bytes that are none; tokenizer=byte takes any",
      );
    }
  }

  #take(text: string, isWhole: boolean): string[] {
    const all = this.#held + text;
    const words = wordsOf(all, isWhole);
    let length = 0;
    for (const word of words) length += word.length;
    this.#held = all.slice(length);
    this.#taken += utf8.encode(all.slice(0, length)).length;
    if (this.#held.length > MAX_HELD) {
      throw new AppError(
        "malformed_body",
        `Expected words of at most ${MAX_HELD} characters, got a longer one; tokenizer=byte takes any`,
      );
    }
    return words;
  }
}
