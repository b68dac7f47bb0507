/** Lets callers wait for a change, each for a bounded time. */
export class Wakes {
  readonly #wakes = new Set<() => void>();

  /** Wakes everyone who waits. */
  wakeAll(): void {
    for (const wake of this.#wakes) wake();
  }

  /** Resolves at the next change, or after `timeoutMs`. */
  async next(timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wakes.add(resolve);
    const timer = setTimeout(resolve, timeoutMs);
    await promise;
    clearTimeout(timer);
    this.#wakes.delete(resolve);
  }
}
