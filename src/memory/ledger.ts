/**
 * Accounts for the memory of an isolate. All objects, hosted trainers and requests of an isolate share its 128 MiB
 * without seeing each other, so they account for it here, in two ways:
 *
 *   keep      a cache, whose contents can be restored. Never waits; the least recently used are dropped for it
 *   reserve   what its holder needs until it is done. Waits until it fits, before the holder has read a byte
 *
 * Reservations leave room for the largest kept entry, and those of trainers also for a push. So a commit always finds
 * room for its shard, a trainer that pushes waits for no other trainer, and there are no deadlocks.
 */
import { AppError } from "../api/errors.ts";

const MIB = 1024 * 1024;
const PAUSE_MS = 20;
export const MAX_WAIT_MS = 30_000;
/**
 * A request whose client has left gets no signal, it just never continues; so a holder that does not call `touch` for
 * this long loses its reservation. A trainer's microbatch may take a minute, and trainers are rarely cut off.
 */
const STALE_MS = { request: 5_000, trainer: 120_000 };
const SMALL_BYTES = MIB;

/** Who reserves. A trainer's pushes are requests, for which it waits. */
export type Rank = "trainer" | "request";

export type LedgerLimits = {
  /** Limit for everything together. */
  totalBytes: number;
  /** Left by reservations for kept entries. */
  keptBytes: number;
  /** Left by trainers for requests. */
  requestBytes: number;
  /** Smaller reservations are not counted; 1 MiB unless told. */
  smallBytes?: number;
};

export type Reservation = {
  /** Tells that the holder is still active. */
  touch(): void;
  release(): void;
};

type Kept = { bytes: number; drop: () => void };
type Entry = { bytes: number; rank: Rank; touched: number };

/** A reservation of no bytes. */
export const NOTHING: Reservation = { touch() {}, release() {} };

export class Ledger {
  #limits: LedgerLimits;
  /** In order of use, most recent last. */
  readonly #kept = new Map<string, Kept>();
  readonly #reserved = new Set<Entry>();
  /** In order of arrival, so that large ones get their turn. */
  readonly #waiting = new Set<Entry>();
  #fixedBytes: () => number = () => 0;

  constructor(limits: LedgerLimits) {
    this.#limits = limits;
  }

  /** Changes the limits; called before anything is held. */
  limit(limits: LedgerLimits): void {
    this.#limits = limits;
  }

  /** Sets the function that returns memory that is never freed and may grow: the kernels'. */
  countFixed(bytes: () => number): void {
    this.#fixedBytes = bytes;
  }

  /** All that is fixed, reserved and kept. */
  get heldBytes(): number {
    return this.#unkeptBytes() + sum(this.#kept.values());
  }

  /**
   * Keeps `bytes` under `key`. Drops other entries until everything fits; `key` itself stays, even alone above the
   * limit. `drop` may be called during another request's event, so it may only free memory.
   */
  keep(key: string, bytes: number, drop: () => void): void {
    this.letGo(key);
    this.#kept.set(key, { bytes, drop });
    this.#makeRoom(key);
  }

  /** How many reservations wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Whether `bytes` could be kept without dropping anything. */
  hasRoom(bytes: number): boolean {
    return this.heldBytes + bytes <= this.#limits.totalBytes;
  }

  /** Marks `key` as the most recently used. */
  touch(key: string): void {
    const kept = this.#kept.get(key);
    if (!kept) return;
    this.#kept.delete(key);
    this.#kept.set(key, kept);
  }

  /** Removes the entry of `key` without calling its `drop`. */
  letGo(key: string): void {
    this.#kept.delete(key);
  }

  /** Reserves `bytes`, waiting up to `maxWaitMs`. Errors: `unavailable` after that */
  async reserve(
    bytes: number,
    rank: Rank = "request",
    maxWaitMs = MAX_WAIT_MS,
  ): Promise<Reservation> {
    if (bytes < (this.#limits.smallBytes ?? SMALL_BYTES)) return NOTHING;
    const started = Date.now();
    const entry: Entry = { bytes, rank, touched: started };
    this.#waiting.add(entry);
    try {
      // A timer, since in Workers a request must not resolve another request's promise.
      // Pauses count too, since the clock may be set back.
      for (let pausedMs = 0; !this.#isNext(entry); pausedMs += PAUSE_MS) {
        if (Math.max(pausedMs, Date.now() - started) >= maxWaitMs) {
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
        // A reservation that was considered stale counts again.
        if (!isReleased) this.#reserved.add(entry);
      },
      release: () => {
        isReleased = true;
        this.#reserved.delete(entry);
      },
    };
  }

  /** The first in its rank's queue is next if it fits, or if its rank has no other reservation. */
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

  /** Drops kept entries, except `spared`, until everything fits. */
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
  for (const entry of entries) {
    // The clock may have been set back since.
    entry.touched = Math.min(entry.touched, now);
    if (now - entry.touched > STALE_MS[entry.rank]) entries.delete(entry);
  }
}

/** Memory of an isolate on the platform. */
const ISOLATE_MIB = 128;

/**
 * The limits of an isolate with `isolateMib`. A quarter is left for code, small objects, and chunks in transit. The
 * largest shard's state and frame take 36 MiB, the largest push 9. Errors: RangeError for an impossible size
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
