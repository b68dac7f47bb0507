import type { Steps } from "./steps.ts";

const ALIGNMENT = 64; // one cache line, and a multiple of a v128
const PAGE_BYTES = 64 * 1024;

/** A byte address in the memory that the kernels share. */
export type Pointer = number;

/** Bytes that stay until they are freed. */
export class Region {
  readonly pointer: Pointer;
  readonly bytes: number;
  readonly #free: () => void;

  constructor(pointer: Pointer, bytes: number, free: () => void) {
    this.pointer = pointer;
    this.bytes = bytes;
    this.#free = free;
  }

  /** Give the bytes back. A second call changes nothing. */
  free(): void {
    this.#free();
  }
}

/** Where a region lies: `[start, end)`. */
type Span = { start: Pointer; end: Pointer };

/**
 * Allocator over the one memory of this isolate, with two lifetimes.
 *
 * Every kernel call takes its buffers inside `scope` and gives them all back at the end, so there
 * is nothing to free and nothing to leak. All objects of an isolate share the arena, so a scope is
 * synchronous: held across an `await`, another object would enter it. The one exception is `scopeOf`.
 *
 * What outlives a scope is a region: owned by whoever asked for it, until it is freed. Scopes bump
 * upwards from the bottom and step over the regions in their way.
 *
 * Growing the memory detaches every earlier view, those of regions too: ask for a view after the last
 * `alloc` or `own`, and copy out what leaves the scope. Pointers stay.
 */
export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly #base: Pointer;
  #top: Pointer;
  #peak: Pointer;
  #open = 0;
  /** Of the regions, in order of address. */
  #spans: Span[] = [];
  /** The last resort: an owner that is collected leaves no region behind. */
  readonly #collected = new FinalizationRegistry<() => void>((free) => free());

  /** `base` is the first address that the kernels' own tables do not use. */
  constructor(memory: WebAssembly.Memory, base: Pointer) {
    this.memory = memory;
    this.#base = this.#top = this.#peak = align(base);
  }

  /** Run `body`, then release everything it allocated. */
  scope<T>(body: () => T): T {
    const mark = this.#top;
    this.#open++;
    try {
      const result = body();
      if (isThenable(result)) {
        throw new TypeError(
          "Expected a synchronous scope, got one that returns a promise",
        );
      }
      if (isGenerator(result))
        throw new TypeError(
          "Expected a synchronous scope, got one that yields",
        );
      return result;
    } finally {
      this.#open--;
      this.#top = mark;
    }
  }

  /**
   * A scope whose work yields. Whoever has the thread meanwhile opens and ends its own scopes above it; another that
   * yields does not begin before this has ended (`takeTurns`).
   */
  *scopeOf<T>(body: () => Steps<T>): Steps<T> {
    const mark = this.#top;
    this.#open++;
    try {
      return yield* body();
    } finally {
      this.#open--;
      this.#top = mark;
    }
  }

  /** Bytes that `body` takes at most, all at one time, in scopes and in the regions that it owns there. */
  measure(body: () => void): number {
    const earlier = this.#peak;
    const mark = (this.#peak = this.#top);
    try {
      this.scope(body);
      return this.#peak - mark;
    } finally {
      this.#peak = Math.max(earlier, this.#peak);
    }
  }

  /** Reserve `bytes`, aligned to 64. Contents are unspecified. */
  alloc(bytes: number): Pointer {
    if (this.#open === 0) throw new Error("Expected `alloc` inside `scope`");
    const pointer = this.#findRoom(this.#top, bytes);
    this.#top = align(pointer + bytes);
    this.#peak = Math.max(this.#peak, this.#top);
    return pointer;
  }

  /**
   * Reserve `bytes`, aligned to 64, until the region is freed. Contents are unspecified. Within a scope
   * it lies above all that the scope has; outside of one, as low as there is room.
   */
  own(bytes: number): Region {
    const from = this.#open > 0 ? this.#top : this.#base;
    const start = this.#findRoom(from, bytes);
    const span = { start, end: align(start + bytes) };
    this.#spans = [...this.#spans, span].sort((a, b) => a.start - b.start);
    if (this.#open > 0) this.#peak = Math.max(this.#peak, span.end);
    const free = (): void => {
      this.#spans = this.#spans.filter((each) => each !== span);
    };
    const region = new Region(start, bytes, free);
    this.#collected.register(region, free);
    return region;
  }

  /** Bytes of all regions. */
  get ownedBytes(): number {
    return this.#spans.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** The first room for `bytes` from `pointer` on; memory grows where it has to. */
  #findRoom(pointer: Pointer, bytes: number): Pointer {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new RangeError(`Expected a whole number of bytes, got ${bytes}`);
    }
    for (const { start, end } of this.#spans) {
      if (end <= pointer) continue;
      if (align(pointer + bytes) <= start) break;
      pointer = end;
    }
    this.reach(align(pointer + bytes));
    return pointer;
  }

  /** Have memory up to `end`. */
  protected reach(end: Pointer): void {
    const missing = end - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE_BYTES));
  }

  /** Reserve room for `length` f32. */
  allocF32(length: number): Pointer {
    return this.alloc(length * 4);
  }

  /** Reserve and fill with zeros. */
  allocZeroedF32(length: number): Pointer {
    const pointer = this.allocF32(length);
    this.f32(pointer, length).fill(0);
    return pointer;
  }

  /** Reserve and fill with a copy of `source`. */
  copyIn(source: ArrayBufferView): Pointer {
    const pointer = this.alloc(source.byteLength);
    this.u8(pointer, source.byteLength).set(
      new Uint8Array(source.buffer, source.byteOffset, source.byteLength),
    );
    return pointer;
  }

  u8(pointer: Pointer, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.memory.buffer as ArrayBuffer, pointer, length);
  }

  u16(pointer: Pointer, length: number): Uint16Array<ArrayBuffer> {
    return new Uint16Array(this.memory.buffer as ArrayBuffer, pointer, length);
  }

  i32(pointer: Pointer, length: number): Int32Array<ArrayBuffer> {
    return new Int32Array(this.memory.buffer as ArrayBuffer, pointer, length);
  }

  f32(pointer: Pointer, length: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.memory.buffer as ArrayBuffer, pointer, length);
  }

  f64(pointer: Pointer, length: number): Float64Array<ArrayBuffer> {
    return new Float64Array(this.memory.buffer as ArrayBuffer, pointer, length);
  }
}

function align(address: Pointer): Pointer {
  return Math.ceil(address / ALIGNMENT) * ALIGNMENT;
}

function isGenerator(value: unknown): boolean {
  return (
    value instanceof Object && Symbol.iterator in value && "throw" in value
  );
}

function isThenable(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value;
}
