/** Those who have asked for the parameters of a step before the shard has reached it. */
export class StepWaiters {
  readonly #wakes = new Set<() => void>();

  /** Resolves when `isDue`, which is asked whenever the shard has changed, or after `waitMs`. */
  async wait(waitMs: number, isDue: () => boolean): Promise<void> {
    const endMs = Date.now() + waitMs;
    for (;;) {
      const leftMs = endMs - Date.now();
      if (leftMs <= 0 || isDue()) return;
      await this.#change(leftMs);
    }
  }

  /** The shard has changed. */
  wakeAll(): void {
    for (const wake of this.#wakes) wake();
  }

  async #change(timeoutMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let wake = (): void => {};
    await new Promise<void>((resolve) => {
      wake = resolve;
      this.#wakes.add(wake);
      timer = setTimeout(resolve, timeoutMs);
    });
    clearTimeout(timer);
    this.#wakes.delete(wake);
  }
}
