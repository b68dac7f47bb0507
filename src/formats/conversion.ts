/**
 * A file on its way through, in one pass and flat memory: what it becomes follows from its head, and
 * its data is taken in pieces whose sizes do not depend on how they arrive.
 *
 * A conversion knows nothing of where bytes come from and go to. It can be saved between two pieces
 * and resumed on a new one of the same head and options: the bytes are those of one go.
 */
import type { ByteSource } from "./source.ts";

/** A stretch of the input, such as a tensor. */
export type Section = {
  pieces: number;
  pieceBytes(piece: number): number;
  /** What a piece becomes. Chunks may view `bytes`: use them before the next is asked for. */
  convert(piece: number, bytes: Uint8Array): Iterable<Uint8Array>;
};

/** Memory of the holds of one conversion, used again by the next. */
export class HoldPool {
  readonly holds: Hold[] = [];
  #free = new Uint8Array(0);

  /** A hold that takes its memory when it is first used. */
  add(capacity: number): Hold {
    const hold = new Hold(capacity, this);
    this.holds.push(hold);
    return hold;
  }

  take(bytes: number): Uint8Array<ArrayBuffer> {
    if (this.#free.length < bytes) return new Uint8Array(bytes);
    const taken = this.#free.subarray(0, bytes);
    this.#free = new Uint8Array(0);
    return taken;
  }

  give(bytes: Uint8Array<ArrayBuffer>): void {
    const whole = new Uint8Array(bytes.buffer);
    if (whole.length > this.#free.length) this.#free = whole;
  }
}

/** Bytes that are kept from one piece to later ones, such as scales until the blocks are out. */
export class Hold {
  readonly capacity: number;
  readonly #pool: HoldPool;
  #bytes: Uint8Array<ArrayBuffer> | undefined;

  constructor(capacity: number, pool: HoldPool) {
    this.capacity = capacity;
    this.#pool = pool;
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return (this.#bytes ??= this.#pool.take(this.capacity));
  }

  get isEmpty(): boolean {
    return this.#bytes === undefined;
  }

  release(): void {
    if (this.#bytes) this.#pool.give(this.#bytes);
    this.#bytes = undefined;
  }
}

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
}

/** Where a conversion stands between two pieces. All but `held` is plain JSON. */
export type SavedConversion = {
  section: number;
  piece: number;
  /** Of the data, behind the head. */
  inputBytes: number;
  /** The head included. */
  outputBytes: number;
  held: { hold: number; bytes: Uint8Array<ArrayBuffer> }[];
};

export class Conversion {
  /** What stands before the converted data. */
  readonly head: Uint8Array<ArrayBuffer>;
  /** Of the whole output. */
  readonly totalBytes: number;
  /** The most bytes that are ever kept at once. */
  readonly heldBytes: number;
  readonly #sections: readonly Section[];
  readonly #holds: readonly Hold[];
  #section = 0;
  #piece = 0;
  #inputBytes = 0;
  #outputBytes: number;

  constructor(parts: {
    head: Uint8Array<ArrayBuffer>;
    dataBytes: number;
    sections: readonly Section[];
    pool?: HoldPool;
    heldBytes?: number;
  }) {
    const { head, dataBytes, sections, pool, heldBytes = 0 } = parts;
    this.head = head;
    this.totalBytes = head.length + dataBytes;
    this.heldBytes = heldBytes;
    this.#sections = sections;
    this.#holds = pool?.holds ?? [];
    this.#outputBytes = head.length;
    this.#skipEmpty();
  }

  /** Bytes of data taken so far. */
  get inputBytes(): number {
    return this.#inputBytes;
  }

  /** Bytes of output so far, the head included. */
  get outputBytes(): number {
    return this.#outputBytes;
  }

  /** How many bytes `convert` takes next; 0 at the end. */
  get wanted(): number {
    const section = this.#sections[this.#section];
    return section === undefined ? 0 : section.pieceBytes(this.#piece);
  }

  /** The output of the next `wanted` bytes. To be run to its end before anything else is asked. */
  *convert(bytes: Uint8Array): Generator<Uint8Array, void, void> {
    for (const chunk of this.#sections[this.#section]!.convert(
      this.#piece,
      bytes,
    )) {
      this.#outputBytes += chunk.length;
      yield chunk;
    }
    this.#inputBytes += bytes.length;
    this.#piece++;
    this.#skipEmpty();
  }

  /** Copies what it holds. */
  save(): SavedConversion {
    return {
      section: this.#section,
      piece: this.#piece,
      inputBytes: this.#inputBytes,
      outputBytes: this.#outputBytes,
      held: this.#holds.flatMap((hold, index) =>
        hold.isEmpty ? [] : [{ hold: index, bytes: hold.bytes.slice() }],
      ),
    };
  }

  /** Go on where another conversion of the same head and options was saved. */
  resume(saved: SavedConversion): void {
    this.#section = saved.section;
    this.#piece = saved.piece;
    this.#inputBytes = saved.inputBytes;
    this.#outputBytes = saved.outputBytes;
    for (const hold of this.#holds) hold.release();
    for (const { hold, bytes } of saved.held)
      this.#holds[hold]!.bytes.set(bytes);
  }

  #skipEmpty(): void {
    while (this.#piece >= (this.#sections[this.#section]?.pieces ?? Infinity)) {
      this.#section++;
      this.#piece = 0;
    }
  }
}

/** All output, from the head on or from where it was resumed. Chunks may be overwritten by the next. */
export async function* run(
  conversion: Conversion,
  source: ByteSource,
): AsyncGenerator<Uint8Array, void, void> {
  if (conversion.inputBytes === 0) yield conversion.head;
  for (;;) {
    const { wanted } = conversion;
    if (wanted === 0) return;
    yield* conversion.convert(await source.take(wanted));
  }
}
