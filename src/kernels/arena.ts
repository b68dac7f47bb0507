import type { Steps } from "./steps.ts";

const ALIGNMENT = 64; // one cache line, and a multiple of a v128
const PAGE_BYTES = 64 * 1024;

/** A byte address in the memory that the kernels share. */
export type Pointer = number;

/** Memory that outlives scopes, until it is freed. */
export class Region {
  readonly pointer: Pointer;
  readonly bytes: number;
  readonly #free: () => void;

  constructor(pointer: Pointer, bytes: number, free: () => void) {
    this.pointer = pointer;
    this.bytes = bytes;
    this.#free = free;
  }

  /** Frees the memory. Idempotent. */
  free(): void {
    this.#free();
  }
}

/** The addresses `[start, end)` of a region. */
type Span = { start: Pointer; end: Pointer };

/**
 * Allocator over the one WebAssembly memory of this isolate, with two lifetimes.
 *
 * Every kernel call allocates its buffers inside `scope`, which frees them all at the end, so there is nothing to
 * free and nothing to leak. All objects of an isolate share the arena, so a scope is synchronous: during an `await`,
 * another object could enter it. The one exception is `scopeOf`.
 *
 * Memory that outlives a scope is a region, owned by its caller until it is freed. Scopes allocate upwards from the
 * bottom, and skip regions in their way.
 *
 * Growing the memory detaches all existing views, also those of regions: create views after the last `alloc` or
 * `own`, and copy results out before the scope ends. Pointers stay valid.
 */
export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly #base: Pointer;
  #top: Pointer;
  #peak: Pointer;
  #open = 0;
  /** Addresses of the regions, in order. */
  #spans: Span[] = [];
  /** A last resort, which frees the regions of owners that were garbage-collected. */
  readonly #collected = new FinalizationRegistry<() => void>((free) => free());

  /** `base` is the first address that the kernels' own tables do not use. */
  constructor(memory: WebAssembly.Memory, base: Pointer) {
    this.memory = memory;
    this.#base = this.#top = this.#peak = align(base);
  }

  /** Runs `body`, then frees everything it allocated. */
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
   * A scope whose work yields. Code that runs meanwhile opens and closes its own scopes above it; no other yielding
   * work starts before this one has ended (`takeTurns`).
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

  /** The most bytes that `body` uses at one time, in scopes and in its own regions. */
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
   * Reserves `bytes`, aligned to 64, until the region is freed. Contents are unspecified. Inside a scope the region
   * lies above everything that the scope has allocated; outside, at the lowest free address.
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

  /** The first free address for `bytes` from `pointer` on; grows the memory if necessary. */
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

  /** Grows the memory up to `end`. */
  protected reach(end: Pointer): void {
    const missing = end - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE_BYTES));
  }

  /** Allocates `length` f32. */
  allocF32(length: number): Pointer {
    return this.alloc(length * 4);
  }

  /** Allocates `length` f32, filled with zeros. */
  allocZeroedF32(length: number): Pointer {
    const pointer = this.allocF32(length);
    this.f32(pointer, length).fill(0);
    return pointer;
  }

  /** Allocates a copy of `source`. */
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
