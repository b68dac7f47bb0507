/** The byte tokens of SentencePiece BPE. llama.cpp requires every one that a text may need. */
import { notCarried } from "./not-carried.ts";

/** A space is replaced by SentencePiece's symbol before tokenization. */
const SPACE = 0x20;
const ASCII_END = 0x80;
/** Bytes that never occur in UTF-8; neither do those from UTF8_END on. */
const NEVER = [0xc0, 0xc1];
const UTF8_END = 0xf5;

/** The byte tokens that a text may need and that `texts`, the tokens, lack. */
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

/**
 * Errors: `invalid_option` if an unknown character may need a missing byte token; other programs would use the unknown
 * token
 */
export function checkBytes(texts: ReadonlySet<string>): void {
  const [first, ...others] = missingBytes(texts);
  if (first === undefined) return;
  const more = others.length > 0 ? ` and ${others.length} others` : "";
  throw notCarried(
    `a tokenizer of pieces without the byte ${first}${more}`,
    "llama.cpp takes no text with a character that is no piece and has such a byte",
  );
}
