/** Decides which failures are retried, and after what pause. */
import { AppError } from "../api/errors.ts";

const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 500;

/**
 * Whether to retry after this status: 408 and 425 mean too early, 429 and 5xx a problem of the server; other statuses
 * would come again.
 */
export function isRetryableStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

/** Whether the error means overload, which retries would make worse. */
export function isOverloaded(error: unknown): boolean {
  return error instanceof AppError && error.code === "overloaded";
}

/** Permanent error codes of Node's system calls, TLS and HTTP parser. */
const LASTING_CODE =
  /^(ENOTFOUND|EPROTO|ERR_(INVALID|SSL|TLS)_.*|HPE_.*|.*CERT.*|UNABLE_TO_.*)$/;
/** Permanent errors of fetch and its parser that may have no code. */
const LASTING_MESSAGE = /bad port|unknown scheme|not match the HTTP/;

/** Whether an attempt without response failed for a permanent reason. */
export function isLasting(error: unknown): boolean {
  return causesOf(error).some(
    ({ code, message }) =>
      LASTING_CODE.test(code ?? "") || LASTING_MESSAGE.test(message),
  );
}

/** Why an attempt got no response: "fetch failed: connect ECONNREFUSED 127.0.0.1:9". */
export function reasonOf(error: unknown): string {
  const messages = causesOf(error).map(({ code, message }) => message || code);
  return [...new Set(messages)].join(": ") || String(error);
}

/** An error and its chain of causes; of several causes, the first. */
function causesOf(error: unknown): (Error & { code?: string })[] {
  if (!(error instanceof Error)) return [];
  const [first] = error instanceof AggregateError ? error.errors : [];
  return [error, ...causesOf(error.cause ?? first)];
}

/** 20 ms doubling to 500 ms, with jitter: each between half and all of it. */
export function pauseMs(attempt: number, random = Math.random()): number {
  const full = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt);
  return full * (0.5 + random / 2);
}

/** A trainer's pause after this many consecutive failures; other trainers continue meanwhile. */
export function trainerPauseMs(failures: number): number {
  return 10 * pauseMs(failures);
}

/** Resolves after `ms`, or as soon as `signal` is aborted. */
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
