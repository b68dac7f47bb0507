import { Wakes } from "../platform/wakes.ts";

/** Requests for the parameters of a step that the shard has not reached yet. */
export class StepWaiters {
  readonly #changes = new Wakes();

  /** Resolves when `isDue`, called whenever the shard has changed, returns true, or after `waitMs`. */
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
