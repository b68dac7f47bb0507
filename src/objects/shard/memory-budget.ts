/**
 * What the objects of one isolate keep in memory together. They share 128 MiB, and none of them
 * sees the others, so they meet here: who needs room makes those used longest ago let go.
 */
type Entry = { bytes: number; drop: () => void };

export class MemoryBudget {
  readonly #limitBytes: number;
  #usedBytes = 0;
  /** In order of use, the latest last. */
  readonly #entries = new Map<string, Entry>();

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /**
   * `key` holds `bytes` from now on. Others are dropped until all fit; `key` itself stays, even
   * alone above the limit. `drop` runs within another object's event: it may only let go of memory.
   */
  hold(key: string, bytes: number, drop: () => void): void {
    this.release(key);
    this.#entries.set(key, { bytes, drop });
    this.#usedBytes += bytes;
    for (const [other, entry] of this.#entries) {
      if (this.#usedBytes <= this.#limitBytes || other === key) break;
      this.release(other);
      entry.drop();
    }
  }

  /** `key` is in use: the others are dropped before it. */
  touch(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }

  release(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    this.#usedBytes -= entry.bytes;
  }
}

/** One largest shard fits. A hosted trainer in the same isolate, and bodies in flight, have the rest. */
export const shardMemory = new MemoryBudget(40 * 1024 * 1024);
