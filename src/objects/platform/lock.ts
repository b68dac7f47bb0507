/** Runs asynchronous bodies one after the other, in order of arrival. */
export class Lock {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(body: () => Promise<T>): Promise<T> {
    // A body's error goes to its own caller; the next one runs anyway.
    const next = this.#last.then(body, body);
    this.#last = next;
    return next;
  }
}
