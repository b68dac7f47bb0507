/** All error codes, each with its HTTP status and title. The set is closed: a client may switch on it. */
export const PROBLEMS = {
  malformed_body: [400, "The body cannot be read"],
  malformed_json: [400, "The body is not JSON"],
  malformed_frame: [400, "The body is not a frame"],
  digest_mismatch: [400, "The bytes do not match their digest"],
  unauthorized: [401, "A valid token is required"],
  forbidden: [403, "Not allowed"],
  route_not_found: [404, "No such route"],
  run_not_found: [404, "No such run"],
  shard_not_found: [404, "No such shard"],
  dataset_not_found: [404, "No such dataset"],
  file_not_found: [404, "No such file"],
  job_not_found: [404, "No such job"],
  upload_not_found: [404, "No such upload"],
  token_not_found: [404, "No such join token"],
  method_not_allowed: [405, "Method not allowed"],
  different_bytes: [409, "Other bytes are already stored"],
  different_completion: [409, "Other values are already stored"],
  no_lease: [409, "A lease is required"],
  future_step: [409, "The run has not reached this step"],
  dataset_differs: [409, "The dataset exists with other content"],
  dataset_not_ready: [409, "The dataset is not ready"],
  dataset_in_use: [409, "A run uses the dataset"],
  file_exists: [409, "The file already exists"],
  file_changed: [409, "The file has changed"],
  parts_missing: [409, "Parts of the file are missing"],
  job_differs: [409, "The job exists with another request"],
  run_active: [409, "The run has not ended"],
  wrong_state: [409, "The run's state does not allow it"],
  fingerprint_differs: [409, "The trainer's fingerprint differs"],
  state_version: [409, "The stored state is of another release"],
  step_gone: [410, "The run is past this step"],
  run_ended: [410, "The run has ended"],
  precondition_failed: [412, "Precondition failed"],
  length_required: [411, "Content-Length is required"],
  body_too_large: [413, "The body is too large"],
  unsupported_media_type: [415, "Unsupported media type"],
  range_not_satisfiable: [416, "Range not satisfiable"],
  invalid_option: [422, "An option is not valid"],
  invalid_config: [422, "The configuration is not valid"],
  invalid_name: [422, "The name is not valid"],
  invalid_number: [422, "The number is not valid"],
  shape_mismatch: [422, "The shape does not match"],
  unsupported_dtype: [422, "The dtype is not supported here"],
  name_collision: [422, "Two tensors would have one name"],
  nothing_to_convert: [422, "There is nothing to convert"],
  nonfinite_value: [422, "A value is not finite"],
  step_not_reached: [425, "The run is not at this step yet"],
  unavailable: [503, "Temporarily unavailable"],
  overloaded: [503, "Overloaded"],
} as const;

export type ErrorCode = keyof typeof PROBLEMS;

/** An expected failure. The message says what was expected and what came. */
export class AppError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AppError";
    this.code = code;
  }
}

/** How an expected failure crosses an object's boundary: as a value; only bugs throw. */
export type Result<T> =
  { ok: true; value: T } | { ok: false; code: ErrorCode; message: string };

/** Runs `body`; an `AppError` becomes a value, anything else is a bug and is rethrown. */
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

/** Inverse of `toResult`. */
export function fromResult<T>(result: Result<T>): T {
  if (!result.ok) throw new AppError(result.code, result.message);
  return result.value;
}

/** The message of a caught value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
