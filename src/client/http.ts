/** Sends idempotent requests to the API, with retries. */
import { AppError, type ErrorCode } from "../api/errors.ts";
import { Unanswered } from "./broken-off.ts";
import { checkApiToken, checkUrl } from "./checked-options.ts";
import {
  isLasting,
  isOverloaded,
  isRetryableStatus,
  pause,
  pauseMs,
} from "./retry.ts";
import { withTimeout } from "./with-timeout.ts";

/** The network (`{ fetch }`), or a service binding. */
export type Fetcher = {
  fetch(url: string, init?: RequestInit): Promise<Response>;
  /** Whether the server may be unreachable; a service binding never is. */
  isNetwork?: boolean;
};

export type ClientOptions = {
  /** For example `http://127.0.0.1:8787`. */
  baseUrl: string;
  fetcher?: Fetcher | undefined;
  /** The API token, or a join token. */
  token?: string | undefined;
  /** Aborts requests and pauses. */
  signal?: AbortSignal | undefined;
  /**
   * How long to retry a failing request; default one minute, so that a server may restart. A server that has never
   * answered is given up after 4 seconds.
   */
  patienceMs?: number | undefined;
};

export type RequestOptions = {
  body?: RequestInit["body"];
  headers?: Record<string, string>;
  /** Limit of one attempt, until the response begins; 0 for none. */
  timeoutMs?: number;
  /** Do not retry: the body is a stream, which cannot be sent again. */
  isOnce?: boolean;
};

const PATIENCE_MS = 60_000;
/** Patience for a server that has never answered. */
const REACH_MS = 4_000;
/** Longer than the API's longest long poll. */
const TIMEOUT_MS = 30_000;

/** Why an attempt failed, and whether a retry may succeed. */
class Failure {
  readonly error: unknown;
  readonly isRetryable: boolean;

  constructor(error: unknown, isRetryable: boolean) {
    this.error = error;
    this.isRetryable = isRetryable;
  }
}

export class Http {
  readonly #options: ClientOptions;
  readonly patienceMs: number;
  #reached: Promise<void> | undefined;

  /** Errors: `invalid_option` for an invalid URL or token */
  constructor(options: ClientOptions) {
    const baseUrl = checkUrl(options.baseUrl);
    checkApiToken(options.token);
    this.#options = { ...options, baseUrl };
    this.patienceMs = options.patienceMs ?? PATIENCE_MS;
  }

  get signal(): AbortSignal | undefined {
    return this.#options.signal;
  }

  /**
   * Returns a successful response. A problem document is thrown as the server's `AppError`; temporary failures are
   * retried until patience ends. Errors: `unavailable`, with the URL, if there is no response
   */
  request(
    method: string,
    path: string,
    options: RequestOptions = {},
  ): Promise<Response> {
    return this.read(method, path, options, (response) =>
      Promise.resolve(response),
    );
  }

  /**
   * Reads a successful response with `take`; a response that breaks off or is damaged is requested again. Errors: as
   * `request`
   */
  async read<T>(
    method: string,
    path: string,
    options: RequestOptions,
    take: (response: Response) => Promise<T>,
  ): Promise<T> {
    const { fetcher } = this.#options;
    if (!fetcher || fetcher.isNetwork) await this.#reach();
    return this.#repeat(this.patienceMs, options.isOnce ?? false, async () => {
      const response = await this.#attempt(method, path, options);
      if (response instanceof Failure) return response;
      try {
        return await take(response);
      } catch (error) {
        return this.#unanswered(error);
      }
    });
  }

  /**
   * Checks once whether the server is reachable before sending a body: a restart is worth a minute's wait, a wrong
   * address is not.
   */
  async #reach(): Promise<void> {
    this.#reached ??= this.#probe();
    try {
      await this.#reached;
    } catch (error) {
      this.#reached = undefined;
      throw error;
    }
  }

  async #probe(): Promise<void> {
    const endMs = Date.now() + REACH_MS;
    const patienceMs = Math.min(REACH_MS, this.patienceMs);
    await this.#repeat(patienceMs, false, async () => {
      const timeoutMs = Math.max(1, endMs - Date.now());
      try {
        const response = await this.#fetch("GET", "/healthz", { timeoutMs });
        await response.arrayBuffer(); // cancelled, it would end the connection
        return undefined;
      } catch (error) {
        return this.#unanswered(error);
      }
    });
  }

  async #repeat<T>(
    patienceMs: number,
    isOnce: boolean,
    attempt: () => Promise<T | Failure>,
  ): Promise<T> {
    const { signal } = this.#options;
    const endMs = Date.now() + patienceMs;
    for (let count = 0; ; count++) {
      signal?.throwIfAborted();
      const outcome = await attempt();
      if (!(outcome instanceof Failure)) return outcome;
      signal?.throwIfAborted();
      const waitMs = pauseMs(count);
      const isLast = isOnce || Date.now() + waitMs > endMs;
      if (!outcome.isRetryable || isLast) throw outcome.error;
      await pause(waitMs, signal);
    }
  }

  async json<T>(
    method: string,
    path: string,
    body?: unknown,
    options: RequestOptions = {},
  ): Promise<T> {
    const whole =
      body === undefined
        ? options
        : {
            ...options,
            body: JSON.stringify(body),
            headers: { "Content-Type": "application/json", ...options.headers },
          };
    return this.read(
      method,
      path,
      whole,
      (answer) => answer.json() as Promise<T>,
    );
  }

  async #attempt(
    method: string,
    path: string,
    options: RequestOptions,
  ): Promise<Response | Failure> {
    let response: Response;
    try {
      response = await this.#fetch(method, path, options);
    } catch (error) {
      return this.#unanswered(error);
    }
    if (response.ok) return response;
    const error = await toError(method, path, response);
    const isRetryable = isRetryableStatus(response.status);
    return new Failure(error, isRetryable && !isOverloaded(error));
  }

  /** A network error, a server that went away, a timeout, or a wrong address. */
  #unanswered(cause: unknown): Failure {
    const error = new Unanswered(this.#options.baseUrl, cause);
    return new Failure(error, !isLasting(cause));
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
      // Required by the fetch standard for stream bodies.
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

/** The error of a problem document; for other responses, the status and request. */
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
