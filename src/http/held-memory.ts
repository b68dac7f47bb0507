/**
 * Memory that requests hold while they run, together: those that find none left wait, before they
 * have answered anything.
 */
import { AppError } from "../api/errors.ts";

const PAUSE_MS = 20;
const MAX_WAIT_MS = 60_000;
/** Below that a request is not counted. */
const SMALL_BYTES = 1024 * 1024;

export class HeldMemory {
  readonly #limitBytes: number;
  #usedBytes = 0;
  /** Who came first is served first, so that large requests get their turn. */
  readonly #waiting: symbol[] = [];

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Wait for `bytes`; the result gives them back. Errors: `unavailable` after a minute */
  async reserve(bytes: number): Promise<() => void> {
    if (bytes < SMALL_BYTES) return () => {};
    const ticket = Symbol();
    this.#waiting.push(ticket);
    try {
      // A timer, not a promise that another request would resolve: requests may not do that.
      for (let waited = 0; !this.#isNext(ticket, bytes); waited += PAUSE_MS) {
        if (waited > MAX_WAIT_MS) {
          throw new AppError(
            "unavailable",
            `Expected ${bytes} bytes of memory to be free, got none within ${MAX_WAIT_MS / 1000} seconds; repeat the request`,
          );
        }
        await scheduler.wait(PAUSE_MS);
      }
      this.#usedBytes += bytes;
    } finally {
      this.#waiting.splice(this.#waiting.indexOf(ticket), 1);
    }
    let isHeld = true;
    return () => {
      if (isHeld) this.#usedBytes -= bytes;
      isHeld = false;
    };
  }

  #isNext(ticket: symbol, bytes: number): boolean {
    const fits = this.#usedBytes + bytes <= this.#limitBytes;
    return this.#waiting[0] === ticket && fits;
  }
}

/** A third of an isolate: what tensors hold, and bodies that are read whole. */
export const heldMemory = new HeldMemory(48 * 1024 * 1024);
