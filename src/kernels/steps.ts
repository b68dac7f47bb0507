/** Computation that can be interrupted: a generator that yields where it may pause for other work of its thread. */
export type Steps<T> = Generator<void, T, void>;

/** Runs all steps without interruption. */
export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** Whether some work of this isolate is interrupted at present. */
let isInterrupted = false;

/**
 * Runs all steps, pausing for `turn` whenever it returns a promise. Only one computation of an isolate is interrupted
 * at a time; others run without interruption meanwhile, so that arena scopes end in order.
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
