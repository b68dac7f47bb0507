/** Conditional requests (RFC 9110 §13). */
import { AppError } from "../../api/errors.ts";
import {
  textParameter,
  type ParameterValues,
} from "../declaration/parameter.ts";

const TAGS = 'ETags, as in `"a", "b"`; or `*`, any version';

/** Conditions of requests that modify. */
export const WRITE_CONDITIONS = {
  "If-Match": textParameter(`The stored version must be of these ${TAGS}`),
  "If-None-Match": textParameter(
    `The stored version must be none of these ${TAGS}`,
  ),
  "If-Unmodified-Since": textParameter(
    "When the stored version may be from at most",
  ),
};

/** Conditions of requests that read. */
export const READ_CONDITIONS = {
  ...WRITE_CONDITIONS,
  "If-Modified-Since": textParameter("Send it only if it is from later"),
};

type WriteConditions = Partial<ParameterValues<typeof WRITE_CONDITIONS>>;
type ReadConditions = Partial<ParameterValues<typeof READ_CONDITIONS>>;

/** A stored version. `storedMs` is needed only for conditions with dates. */
export type Version = { etag: string; storedMs?: number | undefined };

/** The version of a file in the bucket. */
export function versionOf({ httpEtag, uploaded }: R2Object): Version {
  return { etag: httpEtag, storedMs: uploaded.getTime() };
}

/**
 * Checks the conditions of a write. Errors: `precondition_failed`; also for an If-None-Match without valid ETags, which
 * would match no version and so allow overwriting
 */
export function checkWrite(
  conditions: WriteConditions,
  present: Version | null,
): void {
  checkMatch(conditions, present);
  const unlike = conditions["If-None-Match"];
  if (unlike === undefined) return;
  if (!/^\s*(\*|((W\/)?"[^"]*"\s*(,\s*|$))+)\s*$/.test(unlike)) {
    throw new AppError(
      "precondition_failed",
      `Expected If-None-Match to have ${TAGS}; got ${unlike}`,
    );
  }
  if (present && hasTag(unlike, present.etag, "weak"))
    throw failed("If-None-Match", unlike, present);
}

/** Whether the client has version `present` already (§13.2.2). Errors: `precondition_failed` */
export function isKnown(conditions: ReadConditions, present: Version): boolean {
  checkMatch(conditions, present);
  const unlike = conditions["If-None-Match"];
  if (unlike !== undefined) return hasTag(unlike, present.etag, "weak");
  const sinceMs = dateMs(conditions["If-Modified-Since"]);
  return sinceMs !== undefined && storedMs(present) <= sinceMs;
}

/** Whether a date decides. */
export function isDated(conditions: ReadConditions): boolean {
  const dates = ["If-Modified-Since", "If-Unmodified-Since"] as const;
  return dates.some((name) => dateMs(conditions[name]) !== undefined);
}

function checkMatch(
  conditions: WriteConditions,
  present: Version | null,
): void {
  const like = conditions["If-Match"];
  if (like !== undefined) {
    if (present && hasTag(like, present.etag, "strong")) return;
    throw failed("If-Match", like, present);
  }
  const since = conditions["If-Unmodified-Since"];
  const sinceMs = dateMs(since);
  if (sinceMs !== undefined && (!present || storedMs(present) > sinceMs))
    throw failed("If-Unmodified-Since", since!, present);
}

/** Whether a list of ETags contains `etag`, a strong one; weak ones match it in weak comparison only (§8.8.3.2). */
function hasTag(
  field: string,
  etag: string,
  comparison: "strong" | "weak",
): boolean {
  if (field.trim() === "*") return true;
  const tags = Array.from(field.matchAll(/(W\/)?("[^"]*")/g));
  return tags.some(
    ([, weak, tag]) =>
      tag === etag && (comparison === "weak" || weak === undefined),
  );
}

/** With the precision of Last-Modified. */
function storedMs({ storedMs: ms = 0 }: Version): number {
  return Math.floor(ms / 1000) * 1000;
}

/** An HTTP-date begins with a day's name; an invalid date is ignored (§13.1.3). */
function dateMs(field: string | undefined): number | undefined {
  if (field === undefined || !/^[A-Z][a-z]{2,8},? /.test(field))
    return undefined;
  const ms = Date.parse(field);
  return Number.isNaN(ms) ? undefined : ms;
}

function failed(
  name: string,
  field: string,
  present: Version | null,
): AppError {
  return new AppError(
    "precondition_failed",
    `Expected the stored version to satisfy ${name}: ${field}, got ${present ? `version ${present.etag}` : "nothing stored"}`,
  );
}
