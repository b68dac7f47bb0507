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
      if (!outcome.isRetryable || Date.now() + waitMs > endMs) {
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

  #fetch(
    method: string,
    path: string,
    { body, headers = {}, timeoutMs = TIMEOUT_MS }: RequestOptions,
  ): Promise<Response> {
    const { baseUrl, fetcher, token, signal } = this.#options;
    const signals = [
      ...(signal ? [signal] : []),
      ...(timeoutMs > 0 ? [AbortSignal.timeout(timeoutMs)] : []),
    ];
    const init: RequestInit = {
      method,
      headers: token
        ? { ...headers, Authorization: `Bearer ${token}` }
        : headers,
      ...(body === undefined ? {} : { body }),
      ...(signals.length === 0 ? {} : { signal: AbortSignal.any(signals) }),
    };
    const url = baseUrl + path;
    return fetcher ? fetcher.fetch(url, init) : fetch(url, init);
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
