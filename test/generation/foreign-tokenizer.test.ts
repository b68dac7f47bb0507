/** Tokenizers of others: prompts are cut as they are there, and what ids stand for is the text, byte for byte. */
import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { openTextModel } from "../../src/generation/open-model.ts";
import { completeShape } from "../../src/model/architectures.ts";
import { ForeignTokenizer } from "../../src/tokenizers/foreign-tokenizer.ts";
import { folderIn, gpt2Directory, written } from "../support/text-models.ts";
import { TOKENIZERS } from "../support/tokenizers.ts";

const SENTENCE_PIECE = {
  type: "Sequence",
  decoders: [
    { type: "Replace", pattern: { String: "▁" }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
    { type: "Strip", content: " ", start: 1, stop: 0 },
  ],
};
const METASPACE = { type: "Metaspace", replacement: "▁" };

function fileOf(name: string, decoder?: object): string {
  const file = TOKENIZERS[name]!.files["tokenizer.json"] as object;
  return JSON.stringify({ ...file, ...(decoder && { decoder }) });
}

const GPT2 = "GPT-2's byte pairs";
const CASES: [name: string, json: string, text: string][] = [
  [GPT2, fileOf(GPT2), "hello world<tool>1234"],
  [
    "Llama 3's, whose digits go by three",
    fileOf("Llama 3's, whose digits go by three"),
    "hello world1234",
  ],
  [
    "Llama 2's, by the rank of merges",
    fileOf("Llama 2's, by the rank of merges", SENTENCE_PIECE),
    "cath!",
  ],
  [
    "T5's, the likeliest pieces, not the longest",
    fileOf("T5's, the likeliest pieces, not the longest", METASPACE),
    "the cat sat",
  ],
];

const told = new TextDecoder();

describe.each(CASES)("%s", (name, json, text) => {
  const tokenizer = new ForeignTokenizer(json);

  it("cuts a prompt as it does there, and spells it", () => {
    const { ids, text: own } = TOKENIZERS[name]!;
    expect(Array.from(tokenizer.encode(own))).toEqual(ids);
    const spelling = tokenizer.spelling();
    const bytes = tokenizer.encode(text).flatMap((id) => [...spelling(id)]);
    const spelled = told.decode(Uint8Array.from(bytes));
    // A text of pieces begins with a space, which its decoder takes away.
    expect(spelled.trimStart()).toBe(text);
  });
});

describe("ids", () => {
  it("of parts of a character are its bytes, and signs are nothing", () => {
    const tokenizer = new ForeignTokenizer(fileOf(GPT2));
    const spelling = tokenizer.spelling();
    const half = 0xc3; // of ü the first, and the id that the test's file gives it
    expect(Array.from(spelling(half))).toEqual([0xc3]);
    expect(spelling(250)).toHaveLength(0); // <|end|>
    expect(told.decode(spelling(251))).toBe("<tool>");
    expect(tokenizer.vocabulary).toBe(252);
  });

  it("of added spaces are spaces, where pieces have a letter for them, as in Gemma's", () => {
    const name = "Llama 2's, by the rank of merges";
    const file = JSON.parse(fileOf(name, SENTENCE_PIECE)) as object;
    const added_tokens = [{ id: 400, content: "▁▁", special: false }];
    const json = JSON.stringify({ ...file, added_tokens });
    const spelling = new ForeignTokenizer(json).spelling();
    expect(told.decode(spelling(400))).toBe("  ");
  });

  it("of added words are those words, with signs that stand for no byte", () => {
    const file = JSON.parse(fileOf(GPT2)) as { added_tokens: object[] };
    const word = { id: 252, content: "<｜à la｜>", special: false };
    const added_tokens = [...file.added_tokens, word];
    const json = JSON.stringify({ ...file, added_tokens });
    const tokenizer = new ForeignTokenizer(json);
    expect(told.decode(tokenizer.spelling()(252))).toBe(word.content);
    expect(tokenizer.vocabulary).toBe(253);
  });

  it("of bytes that no piece has are those bytes", () => {
    const [, , [, json]] = CASES as [
      unknown,
      unknown,
      [string, string, string],
    ];
    const spelling = new ForeignTokenizer(json).spelling();
    expect(Array.from(spelling(3 + 0x21))).toEqual([0x21]);
  });
});

describe("a tokenizer is refused", () => {
  it.each([
    ["{", "Expected an object in tokenizer.json, got other text"],
    ["[1]", "Expected a tokenizer.json of a BPE or a Unigram, got null"],
    [
      fileOf(GPT2, { type: "WordPiece" }),
      'Metaspace as SentencePiece, got BPE with "WordPiece"',
    ],
    [
      JSON.stringify({
        decoder: { type: "ByteLevel" },
        added_tokens: [],
        normalizer: { type: "Else" },
        model: { type: "BPE", vocab: {}, merges: [] },
      }),
      "Expected a tokenizer.json that is read here, got",
    ],
  ])("%s", (json, message) => {
    expect(() => new ForeignTokenizer(json)).toThrow(message);
  });

  it("where it has ids that the model has not", async () => {
    const sizes = { layers: 1, width: 64, heads: 2, context: 32 };
    const files = gpt2Directory(completeShape({ ...sizes, vocabulary: 251 }));
    files.set("tokenizer.json", new TextEncoder().encode(fileOf(GPT2)));
    const model = await openTextModel(folderIn(files));
    await expect(model.load("f32")).rejects.toThrow(
      "Expected a tokenizer of at most 251 ids, got 252",
    );
  });
});

it("a directory with one writes text, the same every time", async () => {
  const sizes = { layers: 1, width: 64, heads: 2, context: 32 };
  const files = gpt2Directory(completeShape({ ...sizes, vocabulary: 252 }));
  files.set("tokenizer.json", new TextEncoder().encode(fileOf(GPT2)));
  const options = { maxTokens: 20, seed: 3 };
  const { text, ending } = await written(files, "hello world", options);
  expect(ending.promptTokens).toBe(TOKENIZERS[GPT2]!.ids.length - 3);
  expect(text.length).toBeGreaterThan(0);
  expect((await written(files, "hello world", options)).text).toBe(text);
  const model = await openTextModel(folderIn(files));
  const bytes = fileOf(GPT2).length;
  expect(await model.tokenizerBytes()).toBe(16 * bytes);
});
