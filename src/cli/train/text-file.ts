/** The text that a person wants to train on, looked at before anything is started. */
import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { MAX_DATASET_BYTES, type TokenizerName } from "../../api/dataset.ts";
import { AppError } from "../../api/errors.ts";
import { notReadable } from "../files.ts";
import { Remedied } from "../next-step.ts";
import { shellWord } from "../shell-word.ts";
import { mobyDick } from "./moby-dick.ts";

const CHUNK_BYTES = 1024 * 1024;

/** Its path; Moby Dick where none is typed. Errors: `file_not_found`; `malformed_body` if it is empty; `body_too_large` */
export function textFileOf(text: string | undefined): string {
  const file = text ? resolve(text) : mobyDick();
  if (!existsSync(file) || !statSync(file).isFile())
    throw new AppError(
      "file_not_found",
      `Expected --text to be a file, got ${text ?? file}`,
    );
  const { size } = statSync(file);
  if (size === 0)
    throw new AppError(
      "malformed_body",
      `Expected --text to be a file of at least 1 byte, got none in ${text}`,
    );
  if (size > MAX_DATASET_BYTES)
    throw new Remedied(
      "body_too_large",
      `Expected --text to be a file of at most ${MAX_DATASET_BYTES} bytes, got ${size} in ${text}`,
      `\`split -C 100m ${shellWord(text!)} part-\` cuts it at ends of lines: train on a part`,
    );
  return file;
}

/** Errors: `malformed_body` for a text that is not UTF-8, where `tokenizer` needs it; `file_not_found` if it cannot be read */
export function checkEncoding(file: string, tokenizer: TokenizerName): void {
  if (tokenizer === "byte") return;
  const wrong = firstNoUtf8(file);
  if (wrong === undefined) return;
  const { offset, byte, encoding } = wrong;
  throw new Remedied(
    "malformed_body",
    `Expected --text to be a file in UTF-8, got ${byte} at offset ${offset} of ${file}`,
    `If it is in ${encoding}, \`iconv -f ${encoding} -t utf-8 ${shellWord(file)} > utf8.txt\` converts it; --tokenizer byte takes any bytes`,
  );
}

type Wrong = { offset: number; byte: string; encoding: string };

/** The first byte with which a file is no UTF-8, or its end amid a character, and what it may be instead. */
function firstNoUtf8(path: string): Wrong | undefined {
  const file = opened(path);
  try {
    const buffer = Buffer.alloc(CHUNK_BYTES);
    let encoding = "latin1";
    // `start` is where the bytes of the buffer are in the file; a character that is cut stays at their beginning.
    for (let start = 0, cut = 0; ;) {
      const read = readSync(file, buffer, cut, CHUNK_BYTES - cut, start + cut);
      const bytes = buffer.subarray(0, cut + read);
      if (start === 0 && /^(fffe|feff)/.test(bytes.toString("hex", 0, 2)))
        encoding = "utf-16";
      const isEnd = read === 0;
      if (!isUtf8(bytes, !isEnd)) {
        const at = isEnd ? bytes.length : wrongAt(bytes);
        const byte = isEnd
          ? "an end amid a character"
          : `byte 0x${bytes.toString("hex", at, at + 1)}`;
        return { offset: start + at, byte, encoding };
      }
      if (isEnd) return undefined;
      const whole = wholeCharacters(bytes);
      buffer.copy(buffer, 0, whole, bytes.length);
      start += whole;
      cut = bytes.length - whole;
    }
  } finally {
    closeSync(file);
  }
}

function opened(path: string): number {
  try {
    return openSync(path, "r");
  } catch (cause) {
    throw notReadable(path, cause);
  }
}

/** With `stream`, the last character may be cut. */
function isUtf8(bytes: Uint8Array, stream: boolean): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes, {
      stream,
    });
    return true;
  } catch {
    return false;
  }
}

/** Of bytes that are no UTF-8, the index of the first with which they are none. */
function wrongAt(bytes: Uint8Array): number {
  let [right, wrong] = [0, bytes.length];
  while (wrong - right > 1) {
    const middle = (right + wrong) >> 1;
    if (isUtf8(bytes.subarray(0, middle), true)) right = middle;
    else wrong = middle;
  }
  return right;
}

/** How many bytes of UTF-8 are whole characters: the last may be cut. */
function wholeCharacters(bytes: Uint8Array): number {
  const last = bytes.findLastIndex((byte) => (byte & 0xc0) !== 0x80);
  return isUtf8(bytes.subarray(last), false) ? bytes.length : last;
}
