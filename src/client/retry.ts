/** Which failures a second try may not meet, and how long to wait before it. */
const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 500;

/**
 * Whether to repeat a request that was answered with this status. 408 and 425 come too early, 429
 * and 5xx name a server's trouble; every other status would come again.
 */
export function isRetryableStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

/** 20 ms doubling to 500 ms, each somewhere between half and all of it, so that crowds spread. */
export function pauseMs(attempt: number, random = Math.random()): number {
  const full = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt);
  return full * (0.5 + random / 2);
}

/** Resolves after `ms`, or as soon as the signal comes. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}
