/** Which failures a second try may not meet, and how long to wait before it. */
import { AppError } from "../api/errors.ts";

const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 500;

/**
 * Whether to repeat a request that was answered with this status. 408 and 425 come too early, 429
 * and 5xx name a server's trouble; every other status would come again.
 */
export function isRetryableStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

/** Whether a refusal is one that repeating would only make worse. */
export function isOverloaded(error: unknown): boolean {
  return error instanceof AppError && error.code === "overloaded";
}

/** Codes of Node's system errors, TLS and HTTP parser that a second try would meet again. */
const LASTING_CODE =
  /^(ENOTFOUND|EPROTO|ERR_(INVALID|SSL|TLS)_.*|HPE_.*|.*CERT.*|UNABLE_TO_.*)$/;
/** What fetch itself refuses to send, and its parser to read, for which there may be no codes. */
const LASTING_MESSAGE = /bad port|unknown scheme|not match the HTTP/;

/** Whether an attempt that got no answer failed for a reason that stays. */
export function isLasting(error: unknown): boolean {
  return causesOf(error).some(
    ({ code, message }) =>
      LASTING_CODE.test(code ?? "") || LASTING_MESSAGE.test(message),
  );
}

/** Why an attempt got no answer: "fetch failed: connect ECONNREFUSED 127.0.0.1:9". */
export function reasonOf(error: unknown): string {
  const messages = causesOf(error).map(({ code, message }) => message || code);
  return [...new Set(messages)].join(": ") || String(error);
}

/** An error and what it says it was caused by; of several at once, the first. */
function causesOf(error: unknown): (Error & { code?: string })[] {
  if (!(error instanceof Error)) return [];
  const [first] = error instanceof AggregateError ? error.errors : [];
  return [error, ...causesOf(error.cause ?? first)];
}

/** 20 ms doubling to 500 ms, each somewhere between half and all of it, so that crowds spread. */
export function pauseMs(attempt: number, random = Math.random()): number {
  const full = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt);
  return full * (0.5 + random / 2);
}

/** What a trainer waits that has failed so often in a row: others go on meanwhile. */
export function trainerPauseMs(failures: number): number {
  return 10 * pauseMs(failures);
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
