/** Answers errors: an `AppError` as a problem document (RFC 9457), a bug as a bare 500. */
import type { Context } from "hono";
import { json } from "./json.ts";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { AppError, type ErrorCode, PROBLEMS } from "../api/errors.ts";

/** Headers required with an error (RFC 9110 §15.5.6, §15.5.17). */
const REFUSAL_HEADERS: Partial<Record<ErrorCode, string>> = {
  method_not_allowed: "Allow",
  range_not_satisfiable: "Content-Range",
};

/** Seconds; our own client retries sooner, with increasing delays. */
const RETRY_AFTER = "1";
/** Immediate retries would not help an overloaded object. */
const RETRY_OVERLOADED_AFTER = "30";

/** Logs bugs, and answers them without details. */
export function answerError(error: unknown, c: Context): Response {
  if (error instanceof AppError) return problem(c, error.code, error.message);
  // Checked first: retrying makes overload worse, even if the error is also marked as retryable.
  if (isMarked(error, "overloaded")) {
    console.warn(error);
    return problem(
      c,
      "overloaded",
      "Expected fewer requests to the object behind this route; repeat this one later",
    );
  }
  if (isMarked(error, "retryable")) {
    console.warn(error);
    return problem(
      c,
      "unavailable",
      "The object behind this route restarted; repeat the request",
    );
  }
  console.error(`Request ${idOf(c).requestId ?? "without an id"}:`, error);
  return write(
    {
      type: "about:blank",
      title: "Internal Server Error",
      status: 500,
      ...idOf(c),
    },
    500,
  );
}

function problem(c: Context, code: ErrorCode, detail: string): Response {
  const [status, title] = PROBLEMS[code];
  const response = write(
    {
      type: `urn:mxfp4-edge:problem:${code}`,
      title,
      status,
      detail,
      // Encoded as in the URL: a decoded path is not a URI reference.
      instance: new URL(c.req.url).pathname,
      code,
      ...idOf(c),
    },
    status,
  );
  if (status === 401) response.headers.set("WWW-Authenticate", "Bearer");
  if (status === 425 || status === 503) {
    const seconds =
      code === "overloaded" ? RETRY_OVERLOADED_AFTER : RETRY_AFTER;
    response.headers.set("Retry-After", seconds);
  }
  // Set on the context by whoever refuses.
  const name = REFUSAL_HEADERS[code];
  const value = name === undefined ? null : c.res.headers.get(name);
  if (name !== undefined && value !== null) response.headers.set(name, value);
  return response;
}

/** The request's id in the log. */
function idOf(c: Context): { requestId?: string } {
  const requestId = c.get("requestId") as string | undefined;
  return requestId === undefined ? {} : { requestId };
}

function write(document: object, status: ContentfulStatusCode): Response {
  const response = json(document, status, "application/problem+json");
  response.headers.set("Cache-Control", "no-store");
  response.headers.set("X-Content-Type-Options", "nosniff");
  return response;
}

/** The platform marks an object's errors by whether a retry may help. */
function isMarked(error: unknown, mark: "retryable" | "overloaded"): boolean {
  return (
    typeof error === "object" &&
    error !== null &&
    (error as Record<string, unknown>)[mark] === true
  );
}
