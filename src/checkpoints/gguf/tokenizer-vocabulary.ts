/** Converts the vocabulary of a tokenizer.json, by the kind of its model. */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import { isObject } from "../../api/json.ts";
import { checkByteLevel, checkPiecesJoined } from "./carried-models.ts";
import { bytePairSpaces, unigramSpaces } from "./carried-pieces.ts";
import { checkFoundBefore } from "./carried-signs.ts";
import { carriedName, preTokenizerOf } from "./pre-tokenizers.ts";
import {
  hasStep,
  malformedTokenizer,
  type TokenizerJson,
} from "./tokenizer-json.ts";
import { type Token, TOKEN_TYPE, type Vocabulary } from "./tokens.ts";

/** Errors: `malformed_body`; `invalid_option` for a tokenizer that llama.cpp lacks or would treat differently */
export function vocabularyOf(tokenizer: TokenizerJson): Vocabulary {
  const { model, preTokenizers, decoders } = tokenizer;
  checkFoundBefore(tokenizer);
  const type = model.type ?? ("merges" in model ? "BPE" : undefined);
  if (type === "Unigram") return unigram(tokenizer);
  if (type !== "BPE")
    throw new AppError(
      "invalid_option",
      `Expected a tokenizer of type BPE or Unigram, which llama.cpp has, got ${shown(type)}`,
    );
  if (hasStep(preTokenizers, "ByteLevel") || hasStep(decoders, "ByteLevel"))
    return byteLevel(tokenizer);
  if (model.byte_fallback === true) return byteFallback(tokenizer);
  throw new AppError(
    "invalid_option",
    "Expected byte pairs on bytes, or with a fall-back to bytes, got a tokenizer of characters alone",
  );
}

/** Byte-level BPE, as of GPT-2. */
function byteLevel(tokenizer: TokenizerJson): Vocabulary {
  const { normalizers } = tokenizer;
  const tokens = tokensOf(tokenizer);
  const pairs = mergesOf(tokenizer);
  const pre = carriedName(
    preTokenizerOf(tokenizer),
    hasStep(normalizers, "NFC"),
  );
  checkByteLevel(tokenizer, pre, pairs);
  const merges = pairs.map((pair) => pair.join(" "));
  // llama.cpp requires at least one; this one matches nothing, since its result is no token.
  const some =
    merges.length > 0 ? merges : [`${tokens[0]!.text} ${tokens[0]!.text}`];
  return {
    tokens,
    pairs: [
      ["tokenizer.ggml.model", { string: "gpt2" }],
      ["tokenizer.ggml.pre", { string: pre }],
      ["tokenizer.ggml.merges", { strings: some }],
    ],
    hasScores: false,
  };
}

/**
 * SentencePiece BPE, as of Llama 2. llama.cpp merges by the score of the result, here the negative rank of the merge.
 */
function byteFallback(tokenizer: TokenizerJson): Vocabulary {
  const { prefix } = bytePairSpaces(tokenizer);
  const merges = mergesOf(tokenizer);
  checkPiecesJoined(tokenizer, merges);
  const ranks = new Map<string, number>();
  for (const [i, [a, b]] of merges.entries())
    if (!ranks.has(a + b)) ranks.set(a + b, i);
  const unknown = tokenizer.model.unk_token;
  const tokens = tokensOf(tokenizer).map((token) => {
    if (token === undefined) return undefined;
    const rank = ranks.get(token.text);
    const type =
      token.text === unknown
        ? TOKEN_TYPE.unknown
        : /^<0x[0-9A-F]{2}>$/.test(token.text)
          ? TOKEN_TYPE.byte
          : token.type;
    return { ...token, type, score: rank === undefined ? 0 : -rank };
  });
  return {
    tokens,
    pairs: [
      ["tokenizer.ggml.model", { string: "llama" }],
      ["tokenizer.ggml.pre", { string: "default" }],
      ["tokenizer.ggml.add_space_prefix", { boolean: prefix }],
    ],
    hasScores: true,
    fallsBack: true,
  };
}

/** Unigram: the most probable pieces, as of T5. */
function unigram(tokenizer: TokenizerJson): Vocabulary {
  const { vocab, unk_id: unknown } = tokenizer.model;
  const isPiece = (each: unknown): each is [string, number] =>
    Array.isArray(each) &&
    typeof each[0] === "string" &&
    typeof each[1] === "number";
  if (!Array.isArray(vocab) || !vocab.every(isPiece))
    throw malformedTokenizer("a `vocab` of pieces and scores", "another");
  const { prefix, collapses, charsmap } = unigramSpaces(tokenizer);
  return {
    tokens: vocab.map(([text, score], id) => ({
      text,
      score,
      type: id === unknown ? TOKEN_TYPE.unknown : TOKEN_TYPE.normal,
    })),
    pairs: [
      ["tokenizer.ggml.model", { string: "t5" }],
      ["tokenizer.ggml.pre", { string: "default" }],
      ["tokenizer.ggml.add_space_prefix", { boolean: prefix }],
      ["tokenizer.ggml.remove_extra_whitespaces", { boolean: collapses }],
      ...(charsmap !== undefined
        ? ([
            [
              "tokenizer.ggml.precompiled_charsmap",
              { uint8s: fromBase64(charsmap) },
            ],
          ] as const)
        : []),
    ],
    hasScores: true,
  };
}

function tokensOf({ model }: TokenizerJson): (Token | undefined)[] {
  const { vocab } = model;
  if (!isObject(vocab) || !Object.values(vocab).every(Number.isSafeInteger))
    throw malformedTokenizer("a `vocab` of tokens and ids", shown(vocab));
  const tokens: (Token | undefined)[] = [];
  for (const [text, id] of Object.entries(vocab) as [string, number][])
    tokens[id] = { text, score: 0, type: TOKEN_TYPE.normal };
  return tokens;
}

function mergesOf({ model }: TokenizerJson): [string, string][] {
  const merges = Array.isArray(model.merges) ? model.merges : [];
  return merges.map((merge: unknown) => {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    if (Array.isArray(pair) && pair.length === 2)
      return pair as [string, string];
    throw malformedTokenizer("`merges` of two tokens each", shown(merge));
  });
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
