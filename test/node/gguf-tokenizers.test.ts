/** A tokenizer that went into a GGUF and came back cuts text as Hugging Face's tokenizers cut by the first. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { GgufKeys } from "../../src/checkpoints/from-gguf/keys.ts";
import { mergesByScore } from "../../src/checkpoints/from-gguf/merges-by-score.ts";
import { vocabularyOfGguf } from "../../src/checkpoints/from-gguf/tokenizer.ts";
import { vocabularyPairs } from "../../src/checkpoints/gguf/vocabulary.ts";
import {
  encodePair,
  type GgufValue,
} from "../../src/formats/containers/gguf-writer.ts";
import { ForeignTokenizer } from "../../src/tokenizers/foreign-tokenizer.ts";
import { renumberedBpe } from "../../src/tokenizers/renumbered-bpe.ts";
import { folderIn } from "../support/text-models.ts";
import { TOKENIZERS } from "../support/tokenizers.ts";

/** More than any of the tokenizers has. */
const ROWS = 2000;

type Case = { tokenizer: object; ids: number[][] };
const { texts, cases } = JSON.parse(
  gunzipSync(
    readFileSync(join(import.meta.dirname, "../fixtures/tokenizers.json.gz")),
  ).toString(),
) as { texts: string[]; cases: Record<string, Case> };

const keysOf = (pairs: Iterable<readonly [string, GgufValue]>): GgufKeys =>
  new GgufKeys(
    new Map(Array.from(pairs, ([key, value]) => [key, encodePair(key, value)])),
  );

async function back(files: Record<string, object | Uint8Array>) {
  const bytes = Object.entries(files).map(([name, file]) => [
    name,
    file instanceof Uint8Array
      ? file
      : new TextEncoder().encode(JSON.stringify(file)),
  ]) as [string, Uint8Array][];
  const keys = keysOf(
    await vocabularyPairs(folderIn(new Map(bytes)), ROWS, {}),
  );
  const json = vocabularyOfGguf(keys).tokenizer!;
  return renumberedBpe(json) ?? new ForeignTokenizer(json);
}

/** What a GGUF has room for; the others are refused. */
const WHOLE = ["gpt2", "llama3", "qwen", "digits", "own_byte", "own_bpe"];

test.each(WHOLE)("%s, in all texts", async (name) => {
  const { tokenizer, ids } = cases[name]!;
  const own = await back({ "tokenizer.json": tokenizer });
  expect(own.vocabulary).toBeLessThan(ROWS);
  for (const [i, text] of texts.entries())
    expect
      .soft(Array.from(own.encode(text)), JSON.stringify(text))
      .toEqual(ids[i]);
});

test("llama2, in texts without the token that is found in normalized text alone", async () => {
  const { tokenizer, ids } = cases.llama2!;
  const { added_tokens: added } = tokenizer as {
    added_tokens: { special: boolean }[];
  };
  // Such a token is refused (gguf-carried.test.ts).
  const signs = added.filter(({ special }) => special);
  const own = await back({
    "tokenizer.json": { ...tokenizer, added_tokens: signs },
  });
  let looked = 0;
  for (const [i, text] of texts.entries()) {
    if (text.includes("<tool>")) continue;
    looked++;
    expect
      .soft(Array.from(own.encode(text)), JSON.stringify(text))
      .toEqual(ids[i]);
  }
  expect(looked).toBeGreaterThan(75);
});

test.each([
  "SentencePiece's own file of byte pairs",
  "SentencePiece's own file with spaces of users",
])("%s", async (name) => {
  const { files, text, ids } = TOKENIZERS[name]!;
  const own = await back(files);
  // As llama.cpp, and Llama's tokenizer: the sign that begins a text comes first unless told otherwise.
  expect(Array.from(own.encode(text))).toEqual([1, ...ids]);
});

test("merges of pieces go by score, then by the longer left part", () => {
  const vocab = { a: 0, b: 1, ab: 2, ba: 3, aba: 4, "<s>": 5, "<": 6, "s>": 7 };
  const scores = [-9, -9, -2, -1, -3, undefined, -9, -9];
  expect(mergesByScore(vocab, (id) => scores[id])).toEqual([
    ["b", "a"],
    ["a", "b"],
    ["ab", "a"],
    ["a", "ba"],
  ]);
});

describe("signs", () => {
  const told = (more: Record<string, GgufValue>) =>
    keysOf(
      Object.entries({
        "tokenizer.ggml.model": { string: "gpt2" },
        "tokenizer.ggml.pre": { string: "gpt-2" },
        "tokenizer.ggml.tokens": {
          strings: ["a", "b", "<s>", "</s>", "<x>", "<pad>"],
        },
        "tokenizer.ggml.token_type": { int32s: [1, 1, 3, 3, 4, 5] },
        "tokenizer.ggml.bos_token_id": { uint32: 2 },
        "tokenizer.ggml.eos_token_id": { uint32: 3 },
        ...more,
      }),
    );
  const idsOf = (more: Record<string, GgufValue>) =>
    new ForeignTokenizer(vocabularyOfGguf(told(more)).tokenizer!).encode(
      "a<x>b</s>",
    );

  test.each<[Record<string, GgufValue>, number[]]>([
    [{}, [0, 4, 1, 3]],
    [{ "tokenizer.ggml.add_bos_token": { boolean: true } }, [2, 0, 4, 1, 3]],
    [{ "tokenizer.ggml.add_eos_token": { boolean: true } }, [0, 4, 1, 3, 3]],
    // As llama.cpp has it of this one.
    [{ "tokenizer.ggml.pre": { string: "llama-bpe" } }, [2, 0, 4, 1, 3]],
  ])("%j", (more, ids) => {
    expect(Array.from(idsOf(more))).toEqual(ids);
  });

  test("without ids are those that llama.cpp has of byte pairs, where there are as many tokens", () => {
    const adds = { "tokenizer.ggml.add_bos_token": { boolean: true } };
    const untold = { uint32: 2 ** 31 };
    const of = (strings: string[]) => ({
      ...adds,
      "tokenizer.ggml.tokens": { strings },
      "tokenizer.ggml.bos_token_id": untold,
    });
    const letters = Array.from("ab<x>cdefghijkl");
    expect(Array.from(idsOf(of(letters)))).toEqual([11, 0, 2, 3, 4, 1, 2, 4]);
    expect(() => idsOf(of(letters.slice(0, 9)))).toThrow(
      "Expected a GGUF with the token of `tokenizer.ggml.bos_token_id`, which it puts around a text, got none",
    );
  });

  test("of one text are no two tokens, as llama.cpp has it", () => {
    const strings = ["a", "b", "a", "</s>", "<x>", "<pad>"];
    expect(() => idsOf({ "tokenizer.ggml.tokens": { strings } })).toThrow(
      'Expected a GGUF whose tokens have a text each, got "a" as 0 and as 2',
    );
  });

  test("of rows that no text uses there is none", () => {
    const json = vocabularyOfGguf(told({})).tokenizer!;
    expect(new ForeignTokenizer(json).vocabulary).toBe(5);
  });

  test("that end a text are those of it, of a turn and of a message", () => {
    expect(vocabularyOfGguf(told({})).endings).toEqual([3]);
    const turn = { "tokenizer.ggml.eot_token_id": { uint32: 4 } };
    expect(vocabularyOfGguf(told(turn)).endings).toEqual([3, 4]);
  });
});
