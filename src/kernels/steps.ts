/**
 * Work that computes in one go, or in turns with what else its thread has to do: a generator, which yields where it may
 * be interrupted.
 */
export type Steps<T> = Generator<void, T, void>;

/** All of it, in one go. */
export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** Of this isolate: some work has been interrupted, and is not back yet. */
let isInterrupted = false;

/**
 * All of it, interrupted for `turn` wherever that gives a promise. One work of an isolate is interrupted at a time, and
 * whoever comes meanwhile has it done in one go: what both have in the arena is given back in order.
 */
export async function takeTurns<T>(
  steps: Steps<T>,
  turn: () => Promise<void> | undefined,
): Promise<T> {
  if (isInterrupted) return finish(steps);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    const others = turn();
    if (!others) continue;
    isInterrupted = true;
    try {
      await others;
    } catch (error) {
      steps.return(undefined as T);
      throw error;
    } finally {
      isInterrupted = false;
    }
  }
}
