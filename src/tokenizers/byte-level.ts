/**
 * Byte-level pre-tokenization: text is split into words, and each byte is written as a printable character, so that
 * vocabularies are lists of strings.
 *
 * Source: the encoder of GPT-2 (Radford et al. 2019); Hugging Face tokenizers' `ByteLevel` has the same split and
 * alphabet
 */

import { once } from "../api/once.ts";
import { CLASSES } from "./character-classes.ts";

/** A contraction's suffix; letters, digits or other characters with one preceding space; white space. */
export const word = once(() => {
  const { spaces } = CLASSES;
  const [letters, digits] = [CLASSES.letters(), CLASSES.digits()];
  return new RegExp(
    [
      "'(?:[sdmt]|ll|ve|re)",
      ` ?[${letters}]+`,
      ` ?[${digits}]+`,
      ` ?[^${spaces}${letters}${digits}]+`,
      `[${spaces}]+(?![^${spaces}])`,
      `[${spaces}]+`,
    ].join("|"),
    "gu",
  );
});

/** Characters behind a match that can still change it: `'ll` is one word, `'l` is not. In UTF-16 units. */
const LOOKAHEAD = 4;

/**
 * Splits `text` into words, whose concatenation it is. `isWhole`: the text ends here; otherwise words at the end that
 * more text could change are omitted.
 */
export function wordsOf(text: string, isWhole: boolean): string[] {
  const words = text.match(word()) ?? [];
  if (isWhole) return words;
  let uncertain = 0;
  while (words.length > 0 && uncertain < LOOKAHEAD) {
    uncertain += words.pop()!.length;
  }
  return words;
}

/** The character for each byte: itself if printable, else one from U+0100 on. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(isPrintable(byte) ? byte : next++),
  );
})();

/** Printable in Latin-1, except the space and the soft hyphen. */
function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
}

const BYTE_OF = new Map(BYTE_CHARACTERS.map((char, byte) => [char, byte]));

/** The bytes of a token from its name in that alphabet; other names are UTF-8 text. */
export function nameBytes(name: string): Uint8Array {
  const bytes = Array.from(name, (char) => BYTE_OF.get(char));
  return bytes.includes(undefined)
    ? new TextEncoder().encode(name)
    : Uint8Array.from(bytes as number[]);
}
