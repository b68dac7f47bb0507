/** Requests to the API that are safe to repeat, repeated while that may help. */
import { AppError, type ErrorCode } from "../api/errors.ts";
import { isRetryableStatus, pause, pauseMs } from "./retry.ts";

/** The network (`{ fetch }`), or a service binding. */
export type Fetcher = {
  fetch(url: string, init?: RequestInit): Promise<Response>;
};

export type ClientOptions = {
  /** As in `http://127.0.0.1:8787`, without a slash at the end. */
  baseUrl: string;
  fetcher?: Fetcher | undefined;
  /** The API token, or a join token. */
  token?: string | undefined;
  /** Ends every request, and every wait between two. */
  signal?: AbortSignal | undefined;
  /** How long to repeat a request that keeps failing; one minute unless told. */
  patienceMs?: number | undefined;
};

export type RequestOptions = {
  body?: RequestInit["body"];
  headers?: Record<string, string>;
  /** Of one attempt, until the answer begins; none when 0. */
  timeoutMs?: number;
  /** The body is a stream, which cannot be sent again. */
  isOnce?: boolean;
};

const PATIENCE_MS = 60_000;
/** Longer than the longest wait of the API. */
const TIMEOUT_MS = 30_000;

export class Http {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  get signal(): AbortSignal | undefined {
    return this.#options.signal;
  }

  /**
   * The answer, if it is a good one. A problem document becomes the `AppError` that the server
   * threw; what failed for a reason that may pass is tried again, until patience ends.
   */
  async request(
    method: string,
    path: string,
    options: RequestOptions = {},
  ): Promise<Response> {
    const { signal, patienceMs = PATIENCE_MS } = this.#options;
    const endMs = Date.now() + patienceMs;
    for (let attempt = 0; ; attempt++) {
      const outcome = await this.#attempt(method, path, options);
      if (outcome instanceof Response) return outcome;
      signal?.throwIfAborted();
      const waitMs = pauseMs(attempt);
      const isLast = options.isOnce || Date.now() + waitMs > endMs;
      if (!outcome.isRetryable || isLast) {
        throw outcome.error;
      }
      await pause(waitMs, signal);
      signal?.throwIfAborted();
    }
  }

  async json<T>(
    method: string,
    path: string,
    body?: unknown,
    options: RequestOptions = {},
  ): Promise<T> {
    const response = await this.request(
      method,
      path,
      body === undefined
        ? options
        : {
            ...options,
            body: JSON.stringify(body),
            headers: { "Content-Type": "application/json", ...options.headers },
          },
    );
    return (await response.json()) as T;
  }

  async #attempt(
    method: string,
    path: string,
    options: RequestOptions,
  ): Promise<Response | { error: unknown; isRetryable: boolean }> {
    let response: Response;
    try {
      response = await this.#fetch(method, path, options);
    } catch (error) {
      // The network, a server that went away, or a timeout.
      return { error, isRetryable: true };
    }
    if (response.ok) return response;
    const { status } = response;
    return {
      error: await toError(method, path, response),
      isRetryable: isRetryableStatus(status),
    };
  }

  async #fetch(
    method: string,
    path: string,
    { body, headers = {}, timeoutMs = TIMEOUT_MS, isOnce }: RequestOptions,
  ): Promise<Response> {
    const { baseUrl, fetcher, token, signal } = this.#options;
    const init: RequestInit = {
      method,
      headers: token
        ? { ...headers, Authorization: `Bearer ${token}` }
        : headers,
      ...(body === undefined ? {} : { body }),
      // The fetch standard asks for it where the body is a stream.
      ...(isOnce ? { duplex: "half" } : {}),
    };
    const send = (ends: AbortSignal | undefined): Promise<Response> => {
      const full = { ...init, ...(ends ? { signal: ends } : {}) };
      const url = baseUrl + path;
      return fetcher ? fetcher.fetch(url, full) : fetch(url, full);
    };
    if (timeoutMs === 0) return send(signal);
    return withTimeout(timeoutMs, signal, send);
  }
}

/**
 * Ends `send` after `timeoutMs`, or when the signal comes. Its timer goes as soon as the answer
 * begins; `AbortSignal.timeout` would leave one behind for each request.
 */
async function withTimeout<T>(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  send: (ends: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  const timer = setTimeout(abort, timeoutMs);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    return await send(stop.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** What a problem document says, as the error it was; else the status and the request. */
async function toError(
  method: string,
  path: string,
  response: Response,
): Promise<Error> {
  const text = await response.text().catch(() => "");
  const type = response.headers.get("Content-Type") ?? "";
  if (type.startsWith("application/problem+json")) {
    const problem = JSON.parse(text) as { code?: ErrorCode; detail?: string };
    if (problem.code) {
      return new AppError(problem.code, problem.detail ?? problem.code);
    }
  }
  return new Error(`[${method}] ${path}: ${response.status}`);
}
