/** What short texts are held to, and how a caller is told of it, to whom a pattern says nothing. */
import { AppError } from "./errors.ts";
import { shown } from "./option-kinds.ts";

export type TextRule = {
  pattern: RegExp;
  words: string;
  /** Of UTF-8, where what holds it counts those. */
  maxBytes?: number;
};

const SIGNS = "letters, digits, dots, _ or -, except . and ..";
/**
 * What a folder has of its own: no `.` or `..`, no control character, no half of a surrogate pair. The API's description
 * has the pattern, which some read with the flag `u`, and some without.
 */
const IN_FOLDER =
  "(?!\\.{1,2}(?:\\/|$))(?:[^\\/\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]|[\\ud800-\\udbff][\\udc00-\\udfff])+";
/** R2's, of a key. */
const MAX_KEY_BYTES = 1024;

/** Files of the bucket have keys that begin so. */
export const FILES_PREFIX = "files/";

/** Names travel in paths, which have no part `.` or `..`, and in header values. */
export const NAME = {
  pattern: /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$/,
  words: `1 to 64 ${SIGNS}`,
} as const satisfies TextRule;

export const RUN_ID = {
  pattern: /^[a-z0-9][a-z0-9-]{0,39}$/,
  words: "1 to 40 lowercase letters, digits or -, not starting with -",
} as const satisfies TextRule;

/** What nobody sees, or what lets a text be read as another: halves of pairs, control, direction, joiners, fillers. */
const UNSEEN =
  "\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u115f\\u1160\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\ud800-\\udfff";

/** What people call a run, in any script; nothing is found by it. */
export const RUN_NAME = {
  pattern: new RegExp(
    `^(?!\\s)(?![^]*\\s$)(?:[^${UNSEEN}]|[\\ud800-\\udbff][\\udc00-\\udfff]){1,80}$`,
  ),
  words:
    "1 to 80 visible characters (no control or bidi characters), without spaces at the ends",
} as const satisfies TextRule;

export const TOKEN_ID = {
  pattern: /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,80}$/,
  words: `1 to 80 ${SIGNS}`,
} as const satisfies TextRule;

/** Of a file or a folder in the bucket: as file systems have them, in folders as deep as may be. */
export const FILE_NAME = {
  pattern: new RegExp(`^${IN_FOLDER}(?:\\/${IN_FOLDER})*$`),
  words: `up to ${MAX_KEY_BYTES - FILES_PREFIX.length} bytes of UTF-8 without control characters; parts between slashes are not empty, . or ..`,
  maxBytes: MAX_KEY_BYTES - FILES_PREFIX.length,
} as const satisfies TextRule;

/** Travels in a header between Worker and object. */
export const FINGERPRINT = {
  pattern: /^[\x21-\x7e]{1,200}$/,
  words: "1 to 200 printable ASCII characters without spaces",
} as const satisfies TextRule;

/** SHA-256. */
export const DIGEST = {
  pattern: /^[0-9a-f]{64}$/,
  words: "64 lowercase hexadecimal digits",
} as const satisfies TextRule;

export function follows(
  { pattern, maxBytes = Infinity }: TextRule,
  text: string,
): boolean {
  return (
    pattern.test(text) && new TextEncoder().encode(text).length <= maxBytes
  );
}

/** Errors: `invalid_name` */
export function checkFileName(name: string): void {
  if (follows(FILE_NAME, name)) return;
  throw new AppError(
    "invalid_name",
    `Expected a file's name of ${FILE_NAME.words}, got ${shown(name)}`,
  );
}
