/** Parameters in a path, checked. */
import { AppError, type ErrorCode } from "../api/errors.ts";
import { NAME_PATTERN, RUN_PATTERN } from "../training/config.ts";

const MAX_NUMBER = 2 ** 32 - 1;

/** A run's id; what cannot be one is a run that does not exist. */
export function runName(value: string): string {
  return matching(value, RUN_PATTERN, "run_not_found", "run id");
}

export function datasetName(value: string): string {
  return matching(value, NAME_PATTERN, "invalid_name", "dataset name");
}

/** Files and jobs have names as datasets have. */
export function fileName(value: string): string {
  return matching(value, NAME_PATTERN, "invalid_name", "file name");
}

/** What cannot be a job's id is that of a job that does not exist. */
export function jobName(value: string): string {
  return matching(value, NAME_PATTERN, "job_not_found", "job id");
}

/** A whole number below 2^32. */
export function pathNumber(name: string, value: string): number {
  const number = Number(value);
  if (/^\d{1,10}$/.test(value) && number <= MAX_NUMBER) return number;
  throw new AppError(
    "invalid_number",
    `Expected \`${name}\` to be a whole number from 0 to ${MAX_NUMBER}, got "${value}"`,
  );
}

function matching(
  value: string,
  pattern: RegExp,
  code: ErrorCode,
  what: string,
): string {
  if (pattern.test(value)) return value;
  throw new AppError(
    code,
    `Expected a ${what} that matches ${pattern.source}, got "${value}"`,
  );
}
