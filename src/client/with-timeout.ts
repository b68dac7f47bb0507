/**
 * Aborts `send` after `timeoutMs`, or with `signal`. The timer is cleared when the response begins;
 * `AbortSignal.timeout` would leave one behind per request.
 */
export async function withTimeout<T>(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  send: (ends: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const abort = (): void => stop.abort(signal?.reason);
  const timer = setTimeout(() => {
    stop.abort(new Error(`nothing came within ${timeoutMs} ms`));
  }, timeoutMs);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    return await send(stop.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}
