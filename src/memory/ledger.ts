/**
 * What one isolate holds in memory, in one account. All objects, hosted trainers and requests of an
 * isolate share its 128 MiB and none of them sees the others, so they meet here, in two ways:
 *
 *   keep      a cache: what can be read again. Never waits; those used longest ago are dropped for it
 *   reserve   what its holder needs until it is done. Waits until it fits, before it has read a byte
 *
 * Reservations leave room for the largest thing that is kept, and those of trainers leave room for a
 * push besides; so a commit always finds room for its shard, a trainer that pushes waits for no
 * other trainer, and nobody waits for somebody who waits for him.
 */
import { AppError } from "../api/errors.ts";

const MIB = 1024 * 1024;
const PAUSE_MS = 20;
export const MAX_WAIT_MS = 30_000;
/**
 * A request whose client left is not told, it just never goes on; so who gives no sign of life for
 * this long holds nothing any more. A trainer's microbatch may take a minute, and one is cut off rarely.
 */
const STALE_MS = { request: 5_000, trainer: 120_000 };
/** Below that a reservation is not counted. */
const SMALL_BYTES = MIB;

/** Who reserves. A trainer's pushes are requests, which it waits for. */
export type Rank = "trainer" | "request";

export type LedgerLimits = {
  /** Of all together. */
  totalBytes: number;
  /** That reservations leave to what is kept. */
  keptBytes: number;
  /** That trainers leave to requests. */
  requestBytes: number;
};

export type Reservation = {
  /** A sign of life. */
  touch(): void;
  release(): void;
};

type Kept = { bytes: number; drop: () => void };
type Entry = { bytes: number; rank: Rank; touched: number };

/** Of no bytes. */
export const NOTHING: Reservation = { touch() {}, release() {} };

export class Ledger {
  #limits: LedgerLimits;
  /** In order of use, the latest last. */
  readonly #kept = new Map<string, Kept>();
  readonly #reserved = new Set<Entry>();
  /** In order of arrival, so that large ones get their turn. */
  readonly #waiting = new Set<Entry>();
  #fixedBytes: () => number = () => 0;

  constructor(limits: LedgerLimits) {
    this.#limits = limits;
  }

  /** From now on; before anything is held. */
  limit(limits: LedgerLimits): void {
    this.#limits = limits;
  }

  /** What is never given back, and may grow: the kernels' memory. */
  countFixed(bytes: () => number): void {
    this.#fixedBytes = bytes;
  }

  /** All that is fixed, reserved and kept. */
  get heldBytes(): number {
    return this.#unkeptBytes() + sum(this.#kept.values());
  }

  /**
   * `key` keeps `bytes` from now on. Others are dropped until all fit; `key` itself stays, even
   * alone above the limit. `drop` runs within another one's event: it may only let go of memory.
   */
  keep(key: string, bytes: number, drop: () => void): void {
    this.letGo(key);
    this.#kept.set(key, { bytes, drop });
    this.#makeRoom(key);
  }

  /** Whether `bytes` could be kept with nothing dropped for them. */
  hasRoom(bytes: number): boolean {
    return this.heldBytes + bytes <= this.#limits.totalBytes;
  }

  /** `key` is in use: the others are dropped before it. */
  touch(key: string): void {
    const kept = this.#kept.get(key);
    if (!kept) return;
    this.#kept.delete(key);
    this.#kept.set(key, kept);
  }

  /** `key` keeps nothing any more; its `drop` is not called. */
  letGo(key: string): void {
    this.#kept.delete(key);
  }

  /** Wait for `bytes`. Errors: `unavailable` after half a minute */
  async reserve(
    bytes: number,
    rank: Rank = "request",
    maxWaitMs = MAX_WAIT_MS,
  ): Promise<Reservation> {
    if (bytes < SMALL_BYTES) return NOTHING;
    const started = Date.now();
    const entry: Entry = { bytes, rank, touched: started };
    this.#waiting.add(entry);
    try {
      // A timer, not a promise that another request would resolve: requests may not do that.
      while (!this.#isNext(entry)) {
        if (Date.now() - started >= maxWaitMs) {
          throw new AppError(
            "unavailable",
            `Expected ${bytes} bytes of memory to be free, got none within ${maxWaitMs / 1000} seconds; repeat the request`,
          );
        }
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        entry.touched = Date.now();
      }
      this.#reserved.add(entry);
      this.#makeRoom();
    } finally {
      this.#waiting.delete(entry);
    }
    let isReleased = false;
    return {
      touch: () => {
        entry.touched = Date.now();
        // One that was given up, and comes back after all, counts again.
        if (!isReleased) this.#reserved.add(entry);
      },
      release: () => {
        isReleased = true;
        this.#reserved.delete(entry);
      },
    };
  }

  /** The first of its rank gets what it asks for if that fits, or if none of its rank has anything. */
  #isNext(entry: Entry): boolean {
    forgetStale(this.#waiting);
    forgetStale(this.#reserved);
    const { rank, bytes } = entry;
    for (const other of this.#waiting) {
      if (other === entry) break;
      if (other.rank === rank) return false;
    }
    const isAlone = [...this.#reserved].every((other) => other.rank !== rank);
    const { totalBytes, keptBytes, requestBytes } = this.#limits;
    const left =
      totalBytes - keptBytes - (rank === "trainer" ? requestBytes : 0);
    return isAlone || this.#unkeptBytes() + bytes <= left;
  }

  #unkeptBytes(): number {
    return this.#fixedBytes() + sum(this.#reserved);
  }

  /** Drop what is kept, but `spared`, until all fits. */
  #makeRoom(spared?: string): void {
    let held = this.heldBytes;
    for (const [key, { bytes, drop }] of this.#kept) {
      if (held <= this.#limits.totalBytes) return;
      if (key === spared) continue;
      this.#kept.delete(key);
      held -= bytes;
      drop();
    }
  }
}

function sum(entries: Iterable<{ bytes: number }>): number {
  let bytes = 0;
  for (const entry of entries) bytes += entry.bytes;
  return bytes;
}

function forgetStale(entries: Set<Entry>): void {
  const now = Date.now();
  for (const entry of entries)
    if (now - entry.touched > STALE_MS[entry.rank]) entries.delete(entry);
}

/** What the platform gives one. */
const ISOLATE_MIB = 128;

/**
 * Of an isolate with so many MiB. A quarter is for code, small things, and pieces on their way. The largest shard's
 * state and frame take 36 MiB, the largest push 9. Errors: what is no isolate's memory
 */
export function limitsOf(isolateMib: number): LedgerLimits {
  if (!Number.isInteger(isolateMib) || isolateMib < ISOLATE_MIB)
    throw new RangeError(
      `Expected the isolate's memory as whole MiB, ${ISOLATE_MIB} or more, got ${isolateMib}`,
    );
  return {
    totalBytes: 0.75 * isolateMib * MIB,
    keptBytes: 36 * MIB,
    requestBytes: 9 * MIB,
  };
}

export const isolateMemory = new Ledger(limitsOf(ISOLATE_MIB));
