/**
 * The streaming conversion of a file, in one pass and constant memory. Its output is planned from the header; data is
 * read in pieces whose sizes do not depend on how bytes arrive.
 *
 * A conversion does not know where bytes come from or go to. It can be saved between two pieces and resumed in a new
 * one with the same header and options, with the same bytes as without interruption.
 */
import { free } from "../../memory/free.ts";
import { type Held, HoldPool } from "./hold-pool.ts";
import type { ByteSource } from "./source.ts";

/** A stretch of the input, such as a tensor. */
export type Section = {
  pieces: number;
  pieceBytes(piece: number): number;
  /** Converts a piece. Chunks may view `bytes`: use each before requesting the next. */
  convert(piece: number, bytes: Uint8Array): Iterable<Uint8Array>;
  /** Frees its memory; it is not used any more. */
  release?(): void;
};

/** Creates a section when its first byte is needed, since a file may have a hundred thousand. */
export type OpenSection = () => Section;

/** A reused buffer for the output of pieces; allocating one per piece would accumulate garbage. */
export class OutputBuffer {
  #bytes = new Uint8Array(0);

  /** Returns a view of `length`; overwrites the previous one. */
  take(length: number): Uint8Array<ArrayBuffer> {
    if (this.#bytes.length < length) this.#bytes = new Uint8Array(length);
    return this.#bytes.subarray(0, length);
  }

  /** Copies `view`, of the kernels' memory. */
  copy(view: Uint8Array): Uint8Array<ArrayBuffer> {
    const out = this.take(view.length);
    out.set(view);
    return out;
  }

  /** Frees the buffer. */
  release(): void {
    free(this.#bytes);
  }
}

/** The state of a conversion between two pieces. All but `held` is plain JSON. */
export type SavedConversion = {
  section: number;
  piece: number;
  /** Data bytes read, without the header. */
  inputBytes: number;
  /** Including the header. */
  outputBytes: number;
  held: Held;
};

export class Conversion {
  /** The output's header. */
  readonly head: Uint8Array<ArrayBuffer>;
  /** Size of the whole output, without its tail. */
  readonly totalBytes: number;
  readonly #tail: (() => Uint8Array) | undefined;
  /** The most bytes held at once. */
  readonly heldBytes: number;
  readonly #sections: readonly OpenSection[];
  readonly #pool: HoldPool;
  #open: Section | undefined;
  #section = 0;
  #piece = 0;
  #inputBytes = 0;
  #outputBytes: number;

  constructor(parts: {
    head: Uint8Array<ArrayBuffer>;
    dataBytes: number;
    sections: readonly OpenSection[];
    pool?: HoldPool | undefined;
    heldBytes?: number | undefined;
    /** Output after the last section, computed from the data, of unknown length. */
    tail?: (() => Uint8Array) | undefined;
  }) {
    const { head, dataBytes, sections, heldBytes = 0 } = parts;
    this.head = head;
    this.totalBytes = head.length + dataBytes;
    this.heldBytes = heldBytes;
    this.#sections = sections;
    this.#tail = parts.tail;
    this.#pool = parts.pool ?? new HoldPool();
    this.#outputBytes = head.length;
    this.#openNext();
  }

  /** Data bytes read so far. */
  get inputBytes(): number {
    return this.#inputBytes;
  }

  /** Output bytes so far, including the header. */
  get outputBytes(): number {
    return this.#outputBytes;
  }

  /** Whether there is output beyond `totalBytes`. */
  get hasTail(): boolean {
    return this.#tail !== undefined;
  }

  /** The number of bytes that `convert` needs next; 0 at the end. */
  get wanted(): number {
    return this.#open?.pieceBytes(this.#piece) ?? 0;
  }

  /** Converts the next `wanted` bytes. Must be iterated to its end before anything else is called. */
  *convert(bytes: Uint8Array): Generator<Uint8Array, void, void> {
    if (!this.#open) throw new Error("Expected no more after the end");
    for (const chunk of this.#open.convert(this.#piece, bytes)) {
      this.#outputBytes += chunk.length;
      yield chunk;
    }
    this.#inputBytes += bytes.length;
    this.#piece++;
    if (this.#piece < this.#open.pieces) return;
    this.#open.release?.();
    this.#section++;
    this.#piece = 0;
    this.#openNext();
    if (this.#open || !this.#tail) return;
    const tail = this.#tail();
    this.#outputBytes += tail.length;
    yield tail;
  }

  /** The state, with the held bytes themselves, not copies: store them before continuing. */
  save(): SavedConversion {
    return {
      section: this.#section,
      piece: this.#piece,
      inputBytes: this.#inputBytes,
      outputBytes: this.#outputBytes,
      held: this.#pool.save(),
    };
  }

  /** Continues at the state saved by a conversion with the same header and options. */
  resume(saved: SavedConversion): void {
    this.#section = saved.section;
    this.#piece = saved.piece;
    this.#inputBytes = saved.inputBytes;
    this.#outputBytes = saved.outputBytes;
    this.#pool.restore(saved.held);
    this.#openNext();
  }

  /** Frees all memory, at any point; the conversion is not used any more. */
  release(): void {
    this.#open?.release?.();
    this.#pool.clear();
  }

  /** Opens the next section that has pieces. */
  #openNext(): void {
    for (;;) {
      this.#open = this.#sections[this.#section]?.();
      if (this.#open === undefined || this.#open.pieces > 0) return;
      this.#section++;
    }
  }
}

/** Smaller chunks are combined. */
const SMALL_BYTES = 16 * 1024;
const GATHERED_BYTES = 64 * 1024;

/**
 * Runs a conversion; yields all output, from the header on or from where it was resumed. A chunk is only valid until
 * the next one, or the end.
 */
export async function* run(
  conversion: Conversion,
  source: ByteSource,
): AsyncGenerator<Uint8Array, void, void> {
  const gathered = new Uint8Array(GATHERED_BYTES);
  let length = 0;
  try {
    if (conversion.inputBytes === 0) yield conversion.head;
    for (;;) {
      const { wanted } = conversion;
      if (wanted === 0) break;
      for (const chunk of conversion.convert(await source.take(wanted))) {
        const isSmall = chunk.length < SMALL_BYTES;
        if (
          length > 0 &&
          (!isSmall || length + chunk.length > GATHERED_BYTES)
        ) {
          yield gathered.subarray(0, length);
          length = 0;
        }
        if (isSmall) {
          gathered.set(chunk, length);
          length += chunk.length;
        } else {
          yield chunk;
        }
      }
    }
    if (length > 0) yield gathered.subarray(0, length);
  } finally {
    free(gathered);
    conversion.release();
  }
}
