/** The bytes that SentencePiece's byte pairs fall back to, of which llama.cpp wants each that a text may need. */
import { notCarried } from "./not-carried.ts";

/** Written as its sign, which is longer. */
const SPACE = 0x20;
const ASCII_END = 0x80;
/** No UTF-8 has these, nor any from the last on. */
const NEVER = [0xc0, 0xc1];
const UTF8_END = 0xf5;

/** The tokens of bytes that a text may need and that are not among `texts`, those of all tokens. */
export function missingBytes(texts: ReadonlySet<string>): string[] {
  const missing: string[] = [];
  for (let byte = 0; byte < UTF8_END; byte++) {
    const isPiece = byte < ASCII_END && texts.has(String.fromCharCode(byte));
    if (byte === SPACE || isPiece || NEVER.includes(byte)) continue;
    const token = `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
    if (!texts.has(token)) missing.push(token);
  }
  return missing;
}

/** Errors: `invalid_option` where a character that no piece has would have a byte without a token, which is the unknown token to others */
export function checkBytes(texts: ReadonlySet<string>): void {
  const [first, ...others] = missingBytes(texts);
  if (first === undefined) return;
  const more = others.length > 0 ? ` and ${others.length} others` : "";
  throw notCarried(`a tokenizer of pieces without the byte ${first}${more}`, "llama.cpp takes no text with a character that is no piece and has such a byte"); // prettier-ignore
}
