/** Every refusal the project makes, by name, with its status over HTTP and its title. The set is closed: a client may switch on it. */
export const PROBLEMS = {
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
