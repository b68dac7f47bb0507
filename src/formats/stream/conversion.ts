/**
 * A file on its way through, in one pass and flat memory: what it becomes follows from its head, and
 * its data is taken in pieces whose sizes do not depend on how they arrive.
 *
 * A conversion knows nothing of where bytes come from and go to. It can be saved between two pieces
 * and resumed on a new one of the same head and options: the bytes are those of one go.
 */
import { free } from "../../memory/free.ts";
import { type Held, HoldPool } from "./hold-pool.ts";
import type { ByteSource } from "./source.ts";

/** A stretch of the input, such as a tensor. */
export type Section = {
  pieces: number;
  pieceBytes(piece: number): number;
  /** What a piece becomes. Chunks may view `bytes`: use them before the next is asked for. */
  convert(piece: number, bytes: Uint8Array): Iterable<Uint8Array>;
  /** Give back what it has in memory: nothing more is asked of it. */
  release?(): void;
};

/** A section is made when its first byte is due: a file may have a hundred thousand. */
export type OpenSection = () => Section;

/** Room for the output of one piece after another: fresh memory for each would pile up. */
export class OutputBuffer {
  #bytes = new Uint8Array(0);

  /** Overwrites what was taken before. */
  take(length: number): Uint8Array<ArrayBuffer> {
    if (this.#bytes.length < length) this.#bytes = new Uint8Array(length);
    return this.#bytes.subarray(0, length);
  }

  /** What `view`, of the kernels' memory, holds now. */
  copy(view: Uint8Array): Uint8Array<ArrayBuffer> {
    const out = this.take(view.length);
    out.set(view);
    return out;
  }

  /** Nothing of it is used any more. */
  release(): void {
    free(this.#bytes);
  }
}

/** Where a conversion stands between two pieces. All but `held` is plain JSON. */
export type SavedConversion = {
  section: number;
  piece: number;
  /** Of the data, behind the head. */
  inputBytes: number;
  /** The head included. */
  outputBytes: number;
  held: Held;
};

export class Conversion {
  /** What stands before the converted data. */
  readonly head: Uint8Array<ArrayBuffer>;
  /** Of the whole output, but for its tail. */
  readonly totalBytes: number;
  readonly #tail: (() => Uint8Array) | undefined;
  /** The most bytes that are ever kept at once. */
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
    /** What stands behind all else, made of what the data was; of a length that only the end tells. */
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

  /** Bytes of data taken so far. */
  get inputBytes(): number {
    return this.#inputBytes;
  }

  /** Bytes of output so far, the head included. */
  get outputBytes(): number {
    return this.#outputBytes;
  }

  /** Whether `totalBytes` is not all. */
  get hasTail(): boolean {
    return this.#tail !== undefined;
  }

  /** How many bytes `convert` takes next; 0 at the end. */
  get wanted(): number {
    return this.#open?.pieceBytes(this.#piece) ?? 0;
  }

  /** The output of the next `wanted` bytes. To be run to its end before anything else is asked. */
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

  /** With the bytes that it holds, not copies: to be written down before it goes on. */
  save(): SavedConversion {
    return {
      section: this.#section,
      piece: this.#piece,
      inputBytes: this.#inputBytes,
      outputBytes: this.#outputBytes,
      held: this.#pool.save(),
    };
  }

  /** Go on where another conversion of the same head and options was saved, with the bytes it held. */
  resume(saved: SavedConversion): void {
    this.#section = saved.section;
    this.#piece = saved.piece;
    this.#inputBytes = saved.inputBytes;
    this.#outputBytes = saved.outputBytes;
    this.#pool.restore(saved.held);
    this.#openNext();
  }

  /** Give back all that is in memory, wherever it stands: nothing more is asked of it. */
  release(): void {
    this.#open?.release?.();
    this.#pool.clear();
  }

  /** The section that is due, past those without a byte. */
  #openNext(): void {
    for (;;) {
      this.#open = this.#sections[this.#section]?.();
      if (this.#open === undefined || this.#open.pieces > 0) return;
      this.#section++;
    }
  }
}

/** Chunks below that are put together. */
const SMALL_BYTES = 16 * 1024;
const GATHERED_BYTES = 64 * 1024;

/**
 * All output, from the head on or from where it was resumed. Chunks may be overwritten by the next, and
 * are gone with the last.
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
