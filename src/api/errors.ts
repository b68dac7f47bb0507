/**
 * Every refusal the project makes, by name. The set is closed: `http/errors.ts` gives each code its
 * status, and a client may switch on it.
 */
export type ErrorCode =
  // 400: the request cannot be read
  | "malformed_body"
  | "malformed_json"
  | "malformed_frame"
  | "digest_mismatch"
  // 401, 403: who may call
  | "unauthorized"
  | "forbidden"
  // 404, 405: nothing there
  | "route_not_found"
  | "method_not_allowed"
  | "run_not_found"
  | "shard_not_found"
  | "dataset_not_found"
  | "file_not_found"
  | "job_not_found"
  | "upload_not_found"
  | "token_not_found"
  // 409: it contradicts what is already so
  | "different_bytes"
  | "different_completion"
  | "no_lease"
  | "future_step"
  | "dataset_differs"
  | "dataset_in_use"
  | "dataset_not_ready"
  | "file_exists"
  | "file_changed"
  | "parts_missing"
  | "job_differs"
  | "run_active"
  | "wrong_state"
  | "fingerprint_differs"
  | "state_version"
  // 410, 425: another step than the present one
  | "step_gone"
  | "run_ended"
  | "step_not_reached"
  // 411 to 416: a condition, the body or the range
  | "precondition_failed"
  | "length_required"
  | "body_too_large"
  | "unsupported_media_type"
  | "range_not_satisfiable"
  // 422: readable, but not allowed
  | "invalid_option"
  | "invalid_config"
  | "invalid_name"
  | "invalid_number"
  | "shape_mismatch"
  | "unsupported_dtype"
  | "name_collision"
  | "nothing_to_convert"
  | "nonfinite_value"
  // 503: try again; or not before long
  | "unavailable"
  | "overloaded";

/** An expected failure. The message says what was expected and what came. */
export class AppError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AppError";
    this.code = code;
  }
}

/** How an expected failure crosses an object's boundary: as a value, since only bugs throw there. */
export type Result<T> =
  { ok: true; value: T } | { ok: false; code: ErrorCode; message: string };

/** Run `body`; an `AppError` becomes a value, anything else is a bug and goes on. */
export async function toResult<T>(
  body: () => T | Promise<T>,
): Promise<Result<T>> {
  try {
    return { ok: true, value: await body() };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { ok: false, code: error.code, message: error.message };
  }
}

/** The other end of `toResult`. */
export function fromResult<T>(result: Result<T>): T {
  if (!result.ok) throw new AppError(result.code, result.message);
  return result.value;
}

/** What a caught value says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
