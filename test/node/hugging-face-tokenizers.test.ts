/** Tokenizers of every kind that is read, on texts that are hard to cut: the ids of Hugging Face's tokenizers, or a refusal. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { wordsOf } from "../../src/tokenizers/byte-level.ts";
import { ForeignTokenizer } from "../../src/tokenizers/foreign-tokenizer.ts";
import {
  isOwnTokenizer,
  readTokenizerJson,
} from "../../src/tokenizers/tokenizer-json.ts";

type Case = { tokenizer: object; ids: number[][] };
const { texts, cases } = JSON.parse(
  gunzipSync(
    readFileSync(join(import.meta.dirname, "../fixtures/tokenizers.json.gz")),
  ).toString(),
) as { texts: string[]; cases: Record<string, Case> };

test.each(Object.entries(cases))("%s", (name, { tokenizer, ids }) => {
  const json = JSON.stringify(tokenizer);
  const isOwn = isOwnTokenizer(json);
  expect(isOwn).toBe(name.startsWith("own_"));
  const own = isOwn
    ? readTokenizerJson(json)
    : new ForeignTokenizer(json, undefined);
  for (const [i, text] of texts.entries())
    expect.soft([...own.encode(text)], JSON.stringify(text)).toEqual(ids[i]);
});

test("letters and spaces are those of Unicode 16, whichever the engine has", () => {
  // A letter since Unicode 17; one since 16; NEL is a space, and the mark of an order of bytes is none.
  expect(wordsOf("a\u{1e6c0}b \u{10d4a}c", true)).toEqual(["a", "\u{1e6c0}", "b", " \u{10d4a}c"]); // prettier-ignore
  expect(wordsOf("a \u0085b \ufeffc", true)).toEqual(["a", " ", "\u0085", "b", " \ufeff", "c"]); // prettier-ignore
});

test("half of a pair of surrogates is the sign of what is no character", () => {
  const own = readTokenizerJson(JSON.stringify(cases.own_bpe!.tokenizer));
  expect(own.encode("a \ud800b\udc00")).toEqual(own.encode("a \ufffdb\ufffd"));
});

describe("what is cut otherwise is refused by its name", () => {
  const plain = cases.gpt2!.tokenizer as Record<string, object>;
  const pieces = cases.llama2!.tokenizer as Record<string, object>;
  const unigram = cases.uni_always_True!.tokenizer as Record<string, object>;
  const token = { id: 9, content: "<x>", special: true };
  test.each<[object, string]>([
    [{ ...plain, normalizer: { type: "Lowercase" } }, `a normalizer's "Lowercase"; NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip are read`], // prettier-ignore
    [{ ...plain, normalizer: { type: "Sequence", normalizers: [{ type: "Precompiled" }] } }, `a normalizer's "Precompiled"`], // prettier-ignore
    [{ ...plain, normalizer: { type: "BertNormalizer" } }, `"BertNormalizer"`], // prettier-ignore
    [{ ...plain, pre_tokenizer: { type: "Punctuation" } }, `a pre-tokenizer's "Punctuation"`], // prettier-ignore
    [{ ...plain, pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Whitespace" }] } }, `a pre-tokenizer's "Whitespace"`], // prettier-ignore
    [{ ...plain, pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithNext" } }, 'a Split of `behavior` "MergedWithNext"; Isolated, Removed are read'], // prettier-ignore
    [{ ...plain, pre_tokenizer: null }, "a BPE without ByteLevel, `byte_fallback` or `unk_token`"], // prettier-ignore
    [{ ...plain, model: { ...plain.model, dropout: 0.1 } }, "a BPE with `dropout` 0.1"], // prettier-ignore
    [{ ...plain, model: { ...plain.model, end_of_word_suffix: "</w>" } }, 'a BPE with `end_of_word_suffix` "</w>"'], // prettier-ignore
    [{ ...unigram, model: { ...unigram.model, byte_fallback: true } }, "a Unigram with `byte_fallback` true"], // prettier-ignore
    [{ ...plain, added_tokens: [{ ...token, single_word: true }] }, '"<x>" of `single_word`'], // prettier-ignore
    [{ ...pieces, decoder: { type: "Sequence", decoders: [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "CTC" }] } }, `a decoder's "CTC"`], // prettier-ignore
    [{ ...pieces, pre_tokenizer: { type: "Metaspace", prepend_scheme: "first" } }, 'Metaspace of `prepend_scheme` "first" beside "<tool>", which is normalized'], // prettier-ignore
    [{ ...pieces, pre_tokenizer: { type: "Metaspace", add_prefix_space: false } }, "Metaspace of `add_prefix_space` without `prepend_scheme`"], // prettier-ignore
  ])("%#", (json, message) => {
    const read = () => new ForeignTokenizer(JSON.stringify(json), undefined);
    expect(read).toThrow("Expected a tokenizer.json that is read here, got ");
    expect(read).toThrow(message);
  });
});
