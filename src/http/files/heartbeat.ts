/** A sign of life while something long goes on, however slowly. */

/** What `body` gives, with a `beat` every `pauseMs` until then. One that fails is followed by others. */
export async function withHeartbeat<T>(
  pauseMs: number,
  beat: () => Promise<void>,
  body: () => Promise<T>,
): Promise<T> {
  const timer = setInterval(() => {
    beat().catch((error: unknown) => console.warn(error));
  }, pauseMs);
  try {
    return await body();
  } finally {
    clearInterval(timer);
  }
}
