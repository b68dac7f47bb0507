/** Checks that llama.cpp treats the model and the decoder of a tokenizer.json the same way. */
import { isObject } from "../../api/json.ts";
import { shown } from "../../api/option-kinds.ts";
import { IGNORES_MERGES } from "./pre-tokenizers.ts";
import { notCarried } from "./not-carried.ts";
import type { TokenizerJson } from "./tokenizer-json.ts";

type Model = TokenizerJson["model"];

/**
 * `pre`: llama.cpp's name of the pre-tokenizer. "qwen2" implies NFC for other programs, though llama.cpp does not
 * normalize. Errors: `invalid_option` for a part that a GGUF cannot represent
 */
export function checkByteLevel(
  tokenizer: TokenizerJson,
  pre: string,
  merges: readonly (readonly [string, string])[],
): void {
  const { model, normalizers } = tokenizer;
  for (const step of normalizers)
    if (!(step.type === "NFC" && pre === "qwen2"))
      throw notCarried(
        `a normalizer ${shown(step)}`,
        "llama.cpp normalizes no text of byte pairs",
      );
  checkDecoders(tokenizer, ["ByteLevel", "Fuse"]);
  checkJoins(model);
  checkUnknown(model);
  const spaced = merges.find((pair) => pair.some((part) => part.includes(" ")));
  if (spaced)
    throw notCarried(
      `the merge ${shown(spaced)}`,
      "a space parts the two tokens of a GGUF's merges",
    );
  const ignores = model.ignore_merges === true;
  if (ignores !== IGNORES_MERGES.includes(pre))
    checkReached(tokenizer, merges, ignores, pre);
}

/** Errors: `invalid_option` for options of merging that llama.cpp lacks */
export function checkJoins(model: Model): void {
  const untaken = [
    "dropout",
    "continuing_subword_prefix",
    "end_of_word_suffix",
  ].find((key) => model[key]);
  if (untaken)
    throw notCarried(
      `\`${untaken}\` ${shown(model[untaken])} of the model`,
      "llama.cpp has none",
    );
}

/** Errors: `invalid_option` for a decoder that differs from llama.cpp's */
export function checkDecoders(
  { decoders }: TokenizerJson,
  known: readonly string[],
): void {
  for (const step of decoders) {
    const { type, pattern, content, start, stop } = step;
    const isSame =
      type === "Replace"
        ? isObject(pattern) && pattern.String === "▁" && content === " "
        : type !== "Strip" ||
          (content === " " && Number(start) <= 1 && stop === 0);
    if (!known.includes(String(type)) || !isSame)
      throw notCarried(
        `a decoder ${shown(step)}`,
        "llama.cpp does not write text so",
      );
  }
}

/** llama.cpp drops bytes without a token. */
function checkUnknown({
  vocab,
  unk_token: unknown,
  byte_fallback: fallsBack,
}: Model): void {
  const isMade = (unknown ?? "") !== "" || fallsBack === true;
  if (!isMade || !isObject(vocab)) return;
  const bytes = Object.keys(vocab).filter((text) => text.length === 1).length;
  if (bytes < 256)
    throw notCarried(
      `${fallsBack === true ? "`byte_fallback`" : `\`unk_token\` ${shown(unknown)}`} beside ${bytes} of 256 bytes`,
      "llama.cpp leaves out bytes that no token has",
    );
}

/** `ignore_merges` makes no difference if every token results from merging its own text. */
function checkReached(
  { model, added }: TokenizerJson,
  merges: readonly (readonly [string, string])[],
  ignores: boolean,
  pre: string,
): void {
  const ranks = new Map(merges.map((pair, i) => [pair.join(" "), i]));
  const signs = new Set(added.map(({ content }) => content));
  const vocab = isObject(model.vocab) ? Object.keys(model.vocab) : [];
  const missed = vocab.find(
    (text) => !signs.has(text) && joined(text, ranks).length > 1,
  );
  if (missed !== undefined)
    throw notCarried(
      `\`ignore_merges\` ${ignores} beside the token ${shown(missed)}, which no merges make of its text`,
      `llama.cpp ${ignores ? "goes by merges" : "takes words whole that are tokens"} where its pre-tokenizer is ${pre}`,
    );
}

/**
 * llama.cpp merges any two adjacent pieces whose concatenation is a piece, with or without a merge. Errors:
 * `invalid_option` if merges would leave such a pair
 */
export function checkPiecesJoined(
  { model, added }: TokenizerJson,
  merges: readonly (readonly [string, string])[],
): void {
  const ranks = new Map(merges.map((pair, i) => [pair.join(" "), i]));
  const vocab = isObject(model.vocab) ? model.vocab : {};
  const found = new Set(added.map(({ content }) => content));
  for (const piece of Object.keys(vocab)) {
    if (found.has(piece) || piece === model.unk_token || BYTE.test(piece))
      continue;
    const characters = Array.from(piece);
    for (let at = 1; at < characters.length; at++) {
      const parts = [characters.slice(0, at), characters.slice(at)];
      const pair = parts.map((part) => part.join(""));
      // A single character may occur without being a piece.
      const areThere = parts.every(
        (part, i) => part.length === 1 || Object.hasOwn(vocab, pair[i]!),
      );
      if (!areThere || ranks.has(pair.join(" "))) continue;
      if (joined(piece, ranks).join(" ") === pair.join(" "))
        throw notCarried(
          `the pieces ${pair.map(shown).join(" and ")} beside ${shown(piece)}, which no merge makes of them`,
          "llama.cpp joins two pieces whose text is a third",
        );
    }
  }
}

/** A byte token. */
const BYTE = /^<0x[0-9A-F]{2}>$/;

function joined(text: string, ranks: ReadonlyMap<string, number>): string[] {
  const parts = Array.from(text);
  for (;;) {
    let [best, at] = [Infinity, -1];
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
      if (rank < best) [best, at] = [rank, i];
    }
    if (at < 0) return parts;
    parts.splice(at, 2, parts[at]! + parts[at + 1]!);
  }
}
