/** Runs one asynchronous body after the other, in the order in which they came. */
export class Lock {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(body: () => Promise<T>): Promise<T> {
    // A body that failed has told its own caller; the next one runs all the same.
    const next = this.#last.then(body, body);
    this.#last = next;
    return next;
  }
}
