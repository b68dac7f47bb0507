/**
 * The one place where a refusal gets its status, and becomes a problem document (RFC 9457).
 */
import type { Context } from "hono";
import { json } from "./json.ts";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { AppError, type ErrorCode } from "../api/errors.ts";

export const PROBLEMS: Record<
  ErrorCode,
  readonly [ContentfulStatusCode, string]
> = {
  malformed_body: [400, "The body cannot be read"],
  malformed_json: [400, "The body is not JSON"],
  malformed_frame: [400, "The body is not a frame"],
  digest_mismatch: [400, "The bytes differ from their digest"],
  unauthorized: [401, "A token is needed"],
  forbidden: [403, "Not allowed"],
  route_not_found: [404, "No such route"],
  run_not_found: [404, "No such run"],
  shard_not_found: [404, "No such shard"],
  dataset_not_found: [404, "No such dataset"],
  file_not_found: [404, "No such file"],
  job_not_found: [404, "No such job"],
  upload_not_found: [404, "No such upload"],
  token_not_found: [404, "No such join token"],
  method_not_allowed: [405, "The route has other methods"],
  different_bytes: [409, "Other bytes are already there"],
  different_completion: [409, "Other values are already there"],
  no_lease: [409, "A lease is needed"],
  future_step: [409, "The run has not reached this step"],
  dataset_differs: [409, "The dataset has other content"],
  dataset_not_ready: [409, "The dataset is not ready"],
  dataset_in_use: [409, "A run uses the dataset"],
  file_exists: [409, "A file has this name"],
  file_changed: [409, "The file has other content"],
  parts_missing: [409, "Parts of the file have not come"],
  job_differs: [409, "The job has another request"],
  run_active: [409, "The run has not ended"],
  wrong_state: [409, "The run's state does not allow it"],
  fingerprint_differs: [409, "The trainer computes differently"],
  state_version: [409, "Another release left what is stored"],
  step_gone: [410, "The run is past this step"],
  run_ended: [410, "The run has ended"],
  precondition_failed: [412, "The stored version is another"],
  length_required: [411, "Content-Length is needed"],
  body_too_large: [413, "The body is too large"],
  unsupported_media_type: [415, "The body has another content type"],
  range_not_satisfiable: [416, "The range is outside"],
  invalid_option: [422, "An option is not valid"],
  invalid_config: [422, "The configuration is not valid"],
  invalid_name: [422, "The name is not valid"],
  invalid_number: [422, "The number is not valid"],
  shape_mismatch: [422, "The shape does not fit"],
  unsupported_dtype: [422, "The dtype is not supported here"],
  name_collision: [422, "Two tensors would have one name"],
  nothing_to_convert: [422, "There is nothing to convert"],
  nonfinite_value: [422, "A value is not finite"],
  step_not_reached: [425, "Not at this step yet"],
  unavailable: [503, "Try again"],
  overloaded: [503, "Try again later"],
};

/** A header that tells more of a refusal (RFC 9110 §15.5.6, §15.5.17). */
const REFUSAL_HEADERS: Partial<Record<ErrorCode, string>> = {
  method_not_allowed: "Allow",
  range_not_satisfiable: "Content-Range",
};

/** Seconds; our own client retries sooner and with growing pauses. */
const RETRY_AFTER = "1";
/** What is overloaded gets no better by being asked again at once. */
const RETRY_OVERLOADED_AFTER = "30";

/** Answer an error: a refusal as its problem document, a bug as a bare 500 after logging it. */
export function answerError(error: unknown, c: Context): Response {
  if (error instanceof AppError) return problem(c, error.code, error.message);
  if (isOverloaded(error)) {
    console.warn(error);
    return problem(
      c,
      "overloaded",
      "Expected fewer requests to the object behind this route than came; send this one later",
    );
  }
  if (isTransient(error)) {
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
      instance: c.req.path,
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
  // What refuses sets it before.
  const name = REFUSAL_HEADERS[code];
  const value = name === undefined ? null : c.res.headers.get(name);
  if (name !== undefined && value !== null) response.headers.set(name, value);
  return response;
}

/** By which the log knows the request. */
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

/** The platform marks an object's failure that a second try may not meet. */
function isTransient(error: unknown): boolean {
  return isMarked(error, "retryable") && !isOverloaded(error);
}

/** And one that a second try makes worse, whether or not it is marked as the other too. */
function isOverloaded(error: unknown): boolean {
  return isMarked(error, "overloaded");
}

function isMarked(error: unknown, mark: "retryable" | "overloaded"): boolean {
  return (
    typeof error === "object" &&
    error !== null &&
    (error as Record<string, unknown>)[mark] === true
  );
}
