/** Tokens of a GGUF, by what they are to llama.cpp: the model's, those added to it, and rows that none has. */
import { describe, expect, test } from "vitest";
import { vocabularyPairs } from "../../src/checkpoints/gguf/vocabulary.ts";
import { TOKENIZERS } from "../support/tokenizers.ts";

const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED] = [1, 2, 3, 4, 5];

/** The text, type and score of tokens of the tokenizer's file and those that it is given besides. */
async function tokensOf(
  name: string,
  rows: number,
  added: object[] = [],
  more: object = {},
) {
  const file = TOKENIZERS[name]!.files["tokenizer.json"] as {
    added_tokens: object[];
  };
  const added_tokens = [...file.added_tokens, ...added];
  const json = JSON.stringify({ ...file, ...more, added_tokens });
  const folder = {
    list: async () => ["tokenizer.json"],
    text: async (file: string) =>
      file === "tokenizer.json" ? json : undefined,
    open: () => Promise.reject(new Error("Expected nothing to be opened")),
  };
  const pairs = new Map(await vocabularyPairs(folder, rows, {}));
  const { strings } = pairs.get("tokenizer.ggml.tokens") as {
    strings: string[];
  };
  const { int32s } = pairs.get("tokenizer.ggml.token_type") as {
    int32s: number[];
  };
  const { float32s } = (pairs.get("tokenizer.ggml.scores") ?? {
    float32s: [],
  }) as { float32s: number[] };
  return (id: number) => [strings[id], int32s[id], float32s[id]];
}

test("added words are the user's, or signs where they are special; what no token has is never used", async () => {
  const token = await tokensOf("GPT-2's byte pairs", 254);
  expect(token(242)).toEqual(["hell", NORMAL, undefined]);
  expect(token(250)).toEqual(["<|end|>", CONTROL, undefined]);
  expect(token(251)).toEqual(["<tool>", USER_DEFINED, undefined]);
  expect(token(253)).toEqual(["[PAD253]", UNUSED, undefined]);
});

test("one of the model's that is told again keeps its score, and stays unknown where it is", async () => {
  const unknown = { id: 2, content: "<unk>", special: true };
  const word = { id: 6, content: "at", special: false };
  const name = "T5's, the likeliest pieces, not the longest";
  const token = await tokensOf(name, 10, [unknown, word]);
  expect(token(0)).toEqual(["<pad>", CONTROL, 0]);
  expect(token(2)).toEqual(["<unk>", UNKNOWN, 0]);
  expect(token(6)).toEqual(["at", USER_DEFINED, -3]);
  expect(token(8)).toEqual(["t", NORMAL, -6]);
});

describe("with SentencePiece's sign for a space", () => {
  const likely = "T5's, the likeliest pieces, not the longest";
  const pairs = "Llama 2's, by the rank of merges";
  const added = (more: object) => [{ id: 280, content: "▁▁", ...more }];

  test("one that no text has is a piece as it was, or refused where it is none", async () => {
    const word = { id: 7, content: "▁sat", special: false };
    expect((await tokensOf(likely, 10, [word]))(7)).toEqual([
      "▁sat",
      NORMAL,
      -4,
    ]);
    await expect(
      tokensOf(pairs, 300, added({ special: false, normalized: false })),
    ).rejects.toThrow(
      'the added token "▁▁", which is no piece: llama.cpp writes its ▁ as they are',
    );
  });

  test("one that is looked for where spaces are written so is of spaces", async () => {
    const token = await tokensOf(pairs, 300, added({ special: false }), {
      normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
    });
    expect(token(280)).toEqual(["  ", USER_DEFINED, 0]);
  });

  test("a sign is as it is", async () => {
    const token = await tokensOf(pairs, 300, added({ special: true }));
    expect(token(280)).toEqual(["▁▁", CONTROL, 0]);
  });
});

test("a tokenizer of more tokens than the table has rows is refused", async () => {
  await expect(tokensOf("GPT-2's byte pairs", 251)).rejects.toThrow(
    "Expected a tokenizer of at most 251 tokens, as the table has rows, got 252",
  );
});
