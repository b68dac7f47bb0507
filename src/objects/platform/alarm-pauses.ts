/** How objects that alarms drive go on, and how long they wait after a failure. */
import { AppError } from "../../api/errors.ts";

/** From within an alarm, one for this very moment would be lost. */
export const NEXT_MS = 1;
/** Failures in a row that are no refusals, after which the work has failed. */
export const MAX_FAILURES = 6;
const FIRST_PAUSE_MS = 250;

export function pauseAfter(failures: number): number {
  return FIRST_PAUSE_MS * 2 ** failures;
}

/** Others have the memory; that is no failure of the work's. */
export function isCrowded(error: unknown): boolean {
  return error instanceof AppError && error.code === "unavailable";
}
