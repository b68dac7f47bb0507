const ALIGNMENT = 64; // one cache line, and a multiple of a v128
const PAGE_BYTES = 64 * 1024;

/** A byte address in the memory that the kernels share. */
export type Pointer = number;

/**
 * Bump allocator over the one memory of this isolate.
 *
 * Every kernel call takes its buffers inside `scope` and gives them all back at the end, so there
 * is nothing to free and nothing to leak. All objects of an isolate share the arena, so a scope is
 * synchronous: held across an `await`, another object would enter it. Growing the memory detaches
 * every earlier view: ask for a view after the last `alloc`, and copy out what leaves the scope.
 */
export class Arena {
  readonly memory: WebAssembly.Memory;
  #top: Pointer;
  #open = 0;

  /** `base` is the first address that the kernels' own tables do not use. */
  constructor(memory: WebAssembly.Memory, base: Pointer) {
    this.memory = memory;
    this.#top = align(base);
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
      return result;
    } finally {
      this.#open--;
      this.#top = mark;
    }
  }

  /** Reserve `bytes`, aligned to 64. Contents are unspecified. */
  alloc(bytes: number): Pointer {
    if (this.#open === 0) throw new Error("Expected `alloc` inside `scope`");
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new RangeError(`Expected a whole number of bytes, got ${bytes}`);
    }
    const pointer = this.#top;
    const end = align(pointer + bytes);
    const missing = end - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE_BYTES));
    this.#top = end;
    return pointer;
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

function isThenable(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value;
}
