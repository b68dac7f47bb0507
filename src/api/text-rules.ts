/** What short texts are held to, and how a caller is told of it, to whom a pattern says nothing. */

export type TextRule = { pattern: RegExp; words: string };

const SIGNS = "letters, digits, dots, _ or -";
/** One of a folder or a file is no `.` or `..`. */
const IN_BUCKET = "(?!\\.{1,2}(?:/|$))[A-Za-z0-9._-]{1,64}";

/** Names travel in paths and in header values. */
export const NAME = {
  pattern: /^[A-Za-z0-9._-]{1,64}$/,
  words: `1 to 64 ${SIGNS}`,
} as const satisfies TextRule;

export const RUN_ID = {
  pattern: /^[a-z0-9][a-z0-9-]{0,39}$/,
  words: "1 to 40 small letters, digits or -, the first no -",
} as const satisfies TextRule;

export const TOKEN_ID = {
  pattern: /^[A-Za-z0-9._-]{1,80}$/,
  words: `1 to 80 ${SIGNS}`,
} as const satisfies TextRule;

export const FOLDER_NAME = {
  pattern: new RegExp(`^${IN_BUCKET}$`),
  words: `1 to 64 ${SIGNS}, and no . or ..`,
} as const satisfies TextRule;

/** A name, or that of a folder and one in it. */
export const FILE_NAME = {
  pattern: new RegExp(`^${IN_BUCKET}(?:/${IN_BUCKET})?$`),
  words: `1 to 64 ${SIGNS}, and no . or ..; in a folder the folder's, a slash and as many`,
} as const satisfies TextRule;

/** Travels in a header between Worker and object. */
export const FINGERPRINT = {
  pattern: /^[\x21-\x7e]{1,200}$/,
  words: "1 to 200 printable ASCII characters without spaces",
} as const satisfies TextRule;

/** SHA-256. */
export const DIGEST = {
  pattern: /^[0-9a-f]{64}$/,
  words: "64 hexadecimal digits, in small letters",
} as const satisfies TextRule;
