import { Wakes } from "../platform/wakes.ts";

/** Those who have asked for the parameters of a step before the shard has reached it. */
export class StepWaiters {
  readonly #changes = new Wakes();

  /** Resolves when `isDue`, which is asked whenever the shard has changed, or after `waitMs`. */
  async wait(waitMs: number, isDue: () => boolean): Promise<void> {
    const endMs = Date.now() + waitMs;
    for (;;) {
      const leftMs = endMs - Date.now();
      if (leftMs <= 0 || isDue()) return;
      await this.#changes.next(leftMs);
    }
  }

  /** The shard has changed. */
  wakeAll(): void {
    this.#changes.wakeAll();
  }
}
