/** Waits of objects that are driven by alarms for what others hold: reported when they are long, and bounded. */
import { AppError } from "../../api/errors.ts";

/** Shorter waits are usual, and not reported. */
const LONG_MS = 30_000;
/** After this, waiting for memory has failed. */
const MOST_MS = 10 * 60_000;
/** The longest that storage may take for one piece. */
const STORAGE_MS = 60_000;

export class LongWait {
  readonly #what: string;
  readonly #tell: (text: string) => void;
  #sinceMs: number | undefined;
  #isTold = false;

  /** `tell` is called when a wait for `what` becomes long, and when such a wait is over. */
  constructor(what: string, tell: (text: string) => void) {
    this.#what = what;
    this.#tell = tell;
  }

  /** It was not there. Returns the error with which to give up, after 10 minutes without it. */
  missed(): AppError | undefined {
    const nowMs = Date.now();
    // The clock may be set back.
    this.#sinceMs = Math.min(this.#sinceMs ?? nowMs, nowMs);
    const waitedMs = nowMs - this.#sinceMs;
    if (waitedMs >= LONG_MS && !this.#isTold) {
      this.#isTold = true;
      this.#tell(`waiting for ${this.#what} for ${seconds(waitedMs)} s`);
    }
    if (waitedMs < MOST_MS) return undefined;
    return new AppError(
      "unavailable",
      `Expected ${this.#what} within ${seconds(MOST_MS)} s, got none: others hold it; begin again`,
    );
  }

  over(): void {
    const waitedMs = Date.now() - (this.#sinceMs ?? 0);
    if (this.#isTold)
      this.#tell(`got ${this.#what} after ${seconds(waitedMs)} s`);
    this.#sinceMs = undefined;
    this.#isTold = false;
  }
}

/** The result of `work`, which goes on if it is late. Errors: those of `work`; a plain error after a minute */
export async function inTime<T>(what: string, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new Error(
          `Expected ${what} within ${seconds(STORAGE_MS)} s, got nothing`,
        ),
      );
    }, STORAGE_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}
