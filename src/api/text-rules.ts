/** Rules for names and ids, with a description for error messages. */
import { AppError } from "./errors.ts";
import { shown } from "./option-kinds.ts";

export type TextRule = {
  pattern: RegExp;
  words: string;
  /** Limit in UTF-8, where storage has one. */
  maxBytes?: number;
};

const SIGNS = "letters, digits, dots, _ or -, except . and ..";
/**
 * A part of a path: not `.` or `..`, no control characters, no lone surrogates. The pattern is published in the API's
 * description, and so must work with and without the flag `u`.
 */
const IN_FOLDER =
  "(?!\\.{1,2}(?:\\/|$))(?:[^\\/\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]|[\\ud800-\\udbff][\\udc00-\\udfff])+";
/** R2's limit for a key. */
const MAX_KEY_BYTES = 1024;

/** Key prefix of the bucket's files. */
export const FILES_PREFIX = "files/";

/** Names are used in paths, which have no part `.` or `..`, and in header values. */
export const NAME = {
  pattern: /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$/,
  words: `1 to 64 ${SIGNS}`,
} as const satisfies TextRule;

export const RUN_ID = {
  pattern: /^[a-z0-9][a-z0-9-]{0,39}$/,
  words: "1 to 40 lowercase letters, digits or -, not starting with -",
} as const satisfies TextRule;

/** Invisible or misleading characters: lone surrogates, control, direction, joiners, fillers. */
const UNSEEN =
  "\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u115f\\u1160\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\ud800-\\udfff";

/** Display name of a run, in any script. */
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

/** A file or folder in the bucket, with any depth of folders. */
export const FILE_NAME = {
  pattern: new RegExp(`^${IN_FOLDER}(?:\\/${IN_FOLDER})*$`),
  words: `up to ${MAX_KEY_BYTES - FILES_PREFIX.length} bytes of UTF-8 without control characters; parts between slashes are not empty, . or ..`,
  maxBytes: MAX_KEY_BYTES - FILES_PREFIX.length,
} as const satisfies TextRule;

/** Sent in a header between Worker and object. */
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
