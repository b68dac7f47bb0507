/**
 * Text as byte-level tokenizers see it: cut into words first, and each byte a printable character, so that
 * vocabularies are lists of strings.
 *
 * Source: GPT-2's encoder (Radford et al. 2019), whose split and alphabet `ByteLevel` of Hugging Face's
 * tokenizers has
 */

import { once } from "../api/once.ts";
import { CLASSES } from "./character-classes.ts";

/** A contraction's end; letters, digits or marks with the space before them; spaces that nothing follows. */
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

/** As far as a match looks beyond its end: `'ll` is one word, `'l` is not. In UTF-16 units. */
const LOOKAHEAD = 4;

/**
 * The words of `text`, which together are all of it. `isWhole`: the text ends here; else the end that more
 * text could change is left out.
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

/** The character that stands for each byte: itself where that is printable, else one from 256 on. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(isPrintable(byte) ? byte : next++),
  );
})();

/** Printable in Latin-1, the space and the soft hyphen apart. */
function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
}

const BYTE_OF = new Map(BYTE_CHARACTERS.map((char, byte) => [char, byte]));

/** The bytes of a token by its name, whose characters stand for them; of another name, its text. */
export function nameBytes(name: string): Uint8Array {
  const bytes = Array.from(name, (char) => BYTE_OF.get(char));
  return bytes.includes(undefined)
    ? new TextEncoder().encode(name)
    : Uint8Array.from(bytes as number[]);
}
