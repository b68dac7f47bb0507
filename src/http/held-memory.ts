/**
 * Memory that requests hold while they run, together: those that find none left wait, before they
 * have answered anything.
 */
import { AppError } from "../api/errors.ts";

const PAUSE_MS = 20;
const MAX_WAIT_MS = 60_000;
/**
 * A request whose client left is not told, it just never goes on; so who gives no sign of life for
 * this long holds nothing any more.
 */
const STALE_MS = 5_000;
/** Below that a request is not counted. */
const SMALL_BYTES = 1024 * 1024;

export type Reservation = {
  /** A sign of life. */
  touch(): void;
  release(): void;
};

type Entry = { bytes: number; touched: number };

const NOTHING: Reservation = { touch() {}, release() {} };

export class HeldMemory {
  readonly #limitBytes: number;
  readonly #held = new Set<Entry>();
  /** In order of arrival, so that large requests get their turn. */
  readonly #waiting = new Set<Entry>();

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Wait for `bytes`. Errors: `unavailable` after a minute */
  async reserve(bytes: number): Promise<Reservation> {
    if (bytes < SMALL_BYTES) return NOTHING;
    const entry = { bytes, touched: Date.now() };
    const started = entry.touched;
    this.#waiting.add(entry);
    try {
      // A timer, not a promise that another request would resolve: requests may not do that.
      while (!this.#isNext(entry)) {
        await scheduler.wait(PAUSE_MS);
        entry.touched = Date.now();
        if (entry.touched - started > MAX_WAIT_MS) {
          throw new AppError(
            "unavailable",
            `Expected ${bytes} bytes of memory to be free, got none within ${MAX_WAIT_MS / 1000} seconds; repeat the request`,
          );
        }
      }
      this.#held.add(entry);
    } finally {
      this.#waiting.delete(entry);
    }
    return {
      touch: () => {
        entry.touched = Date.now();
      },
      release: () => {
        this.#held.delete(entry);
      },
    };
  }

  #isNext(entry: Entry): boolean {
    forgetStale(this.#waiting);
    forgetStale(this.#held);
    const [first] = this.#waiting;
    let used = 0;
    for (const { bytes } of this.#held) used += bytes;
    return first === entry && used + entry.bytes <= this.#limitBytes;
  }
}

function forgetStale(entries: Set<Entry>): void {
  const oldest = Date.now() - STALE_MS;
  for (const entry of entries)
    if (entry.touched < oldest) entries.delete(entry);
}

/** A third of an isolate: long headers, what tensors hold, and bodies that are read whole. */
export const HELD_LIMIT = 48 * 1024 * 1024;
export const heldMemory = new HeldMemory(HELD_LIMIT);
