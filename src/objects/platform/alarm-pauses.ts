/** Pauses of objects that are driven by alarms: between steps, and after failures. */
import { AppError } from "../../api/errors.ts";

/** Inside an alarm handler, setting an alarm for the present moment has no effect. */
export const NEXT_MS = 1;
/** Consecutive failures other than an `AppError` after which the work has failed. */
export const MAX_FAILURES = 6;
const FIRST_PAUSE_MS = 250;

export function pauseAfter(failures: number): number {
  return FIRST_PAUSE_MS * 2 ** failures;
}

/** Whether memory is used by others at present, which does not count as a failure. */
export function isCrowded(error: unknown): boolean {
  return error instanceof AppError && error.code === "unavailable";
}
