/** Calls a heartbeat while a long operation runs. */

/** Awaits `body`, calling `beat` every `pauseMs` meanwhile. A beat that fails is logged. */
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
