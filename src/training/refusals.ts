/** How a trainer reacts to error codes. */
import type { AppError } from "../api/errors.ts";

/** The lease is outdated: take another one. */
const OLD_LEASE = new Set([
  "step_gone",
  "run_ended",
  // The step was restarted under new keys.
  "no_lease",
  // Other authors, or other trainers with the same token, got another result: the run decides who is wrong.
  "different_bytes",
  "different_completion",
]);

/** A further attempt would be refused again. */
const FINAL = new Set([
  "run_not_found",
  "run_ended",
  "fingerprint_differs",
  "state_version",
  "unauthorized",
  "forbidden",
]);

/** Whether this error ends the trainer. */
export function isFinalRefusal({ code }: AppError): boolean {
  return FINAL.has(code);
}

/** Whether the trainer should go on with another lease. */
export function isOldLease({ code }: AppError): boolean {
  return OLD_LEASE.has(code);
}
