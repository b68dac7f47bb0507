/** What a trainer's refusals mean to it. */
import type { AppError } from "../api/errors.ts";

/** Refusals that say no more than that the lease is old: take another. */
const OLD_LEASE = new Set([
  "step_gone",
  "run_ended",
  // The run's owner has begun the step anew.
  "no_lease",
  // Others, or others of the same token, came to something else: the run finds out who is wrong.
  "different_bytes",
  "different_completion",
]);

/** Refusals after which another try is the same refusal. */
const FINAL = new Set([
  "run_not_found",
  "run_ended",
  "fingerprint_differs",
  "state_version",
  "unauthorized",
  "forbidden",
]);

/** Whether a trainer that met this error has nothing more to do. */
export function isFinalRefusal({ code }: AppError): boolean {
  return FINAL.has(code);
}

/** Whether the next lease may go well all the same. */
export function isOldLease({ code }: AppError): boolean {
  return OLD_LEASE.has(code);
}
