/** Each part of a tokenizer.json is carried into a GGUF as it is, or harmless there, or refused by its name. */
import { describe, expect, test } from "vitest";
import { GgufKeys } from "../../src/checkpoints/from-gguf/keys.ts";
import { vocabularyOfGguf } from "../../src/checkpoints/from-gguf/tokenizer.ts";
import { vocabularyPairs } from "../../src/checkpoints/gguf/vocabulary.ts";
import {
  encodePair,
  type GgufValue,
} from "../../src/formats/containers/gguf-writer.ts";
import { folderIn } from "../support/text-models.ts";
import { TOKENIZERS } from "../support/tokenizers.ts";

type File = Record<string, unknown> & { model: Record<string, unknown> };

const fileOf = (name: string) =>
  TOKENIZERS[name]!.files["tokenizer.json"] as File;
const BYTES = fileOf("GPT-2's byte pairs");
const LLAMA3 = fileOf("Llama 3's, whose digits go by three");
const PIECES = fileOf("Llama 2's, by the rank of merges");
const LIKELY = fileOf("T5's, the likeliest pieces, not the longest");

async function keysOf(
  file: object,
  config: object = {},
  texts: object = {},
): Promise<Map<string, GgufValue>> {
  const files = {
    "tokenizer.json": JSON.stringify(file),
    "tokenizer_config.json": JSON.stringify(config),
    ...texts,
  };
  const bytes = Object.entries(files).map(
    ([name, text]) => [name, new TextEncoder().encode(text)] as const,
  );
  return new Map(await vocabularyPairs(folderIn(new Map(bytes)), 300, {}));
}

const withModel = (file: File, more: object): File => ({
  ...file,
  model: { ...file.model, ...more },
});
const added = (more: object) => ({
  added_tokens: [{ id: 280, content: "<word>", special: false, ...more }],
});
const sequence = (...normalizers: object[]) => ({
  normalizer: { type: "Sequence", normalizers },
});
const prepend = { type: "Prepend", prepend: "▁" };
const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
const repeated = { type: "Replace", pattern: { Regex: " {2,}" }, content: " " };
const metaspace = (prepend_scheme: string, split = true) => ({
  type: "Metaspace",
  replacement: "▁",
  prepend_scheme,
  split,
});
const steps = (...pretokenizers: object[]) => ({
  pre_tokenizer: { type: "Sequence", pretokenizers },
});
const split = (more: object) =>
  steps(
    {
      ...(LLAMA3.pre_tokenizer as { pretokenizers: object[] }).pretokenizers[0],
      ...more,
    },
    { type: "ByteLevel", use_regex: false },
  );
const template = (...signs: string[]) => ({
  post_processor: {
    type: "TemplateProcessing",
    single: signs.map((id) =>
      id === "A" ? { Sequence: { id } } : { SpecialToken: { id } },
    ),
  },
});

const NORMALIZERS = [
  { type: "NFC" },
  { type: "NFD" },
  { type: "NFKC" },
  { type: "NFKD" },
  { type: "Nmt" },
  { type: "Lowercase" },
  { type: "StripAccents" },
  { type: "Strip", strip_left: true, strip_right: true },
  { type: "BertNormalizer", lowercase: true },
  { type: "ByteLevel" },
  { type: "Prepend", prepend: "_" },
  { type: "Replace", pattern: { String: "a" }, content: "b" },
];

describe("a normalizer is refused by its name", () => {
  const plain = { ...BYTES, added_tokens: [] };
  test.each([...NORMALIZERS, replace, prepend])(
    "of bytes: %j",
    async (step) => {
      const file = { ...plain, normalizer: step };
      await expect(keysOf(file)).rejects.toThrow(
        `a normalizer {"type":"${step.type}"`,
      );
    },
  );
  test.each([...NORMALIZERS, prepend])("of pieces: %j", async (step) => {
    const file = { ...PIECES, ...sequence(prepend, replace, step) };
    await expect(keysOf(file)).rejects.toThrow(
      `a normalizer {"type":"${step.type}"`,
    );
  });
  const unlike = NORMALIZERS.filter(({ type }) => type !== "Strip");
  test.each([...unlike, prepend])("of likely ones: %j", async (step) => {
    const file = { ...LIKELY, normalizer: step };
    await expect(keysOf(file)).rejects.toThrow(
      `a normalizer {"type":"${step.type}"`,
    );
  });
});

const PRE = [
  "BertPreTokenizer",
  "CharDelimiterSplit",
  "Punctuation",
  "UnicodeScripts",
  "Whitespace",
  "FixedLength",
];
const DECODERS = ["WordPiece", "BPEDecoder", "CTC"];

test.each<[string, object, string]>([
  ["a space before bytes", { ...BYTES, pre_tokenizer: { type: "ByteLevel", add_prefix_space: true } }, "`add_prefix_space` of ByteLevel"], // prettier-ignore
  ["bytes before cuts", { ...LLAMA3, ...steps({ type: "ByteLevel", use_regex: false }, { type: "Digits", individual_digits: true }) }, "the pre-tokenizers"], // prettier-ignore
  ["a Split that removes", { ...LLAMA3, ...split({ behavior: "Removed" }) }, "got the steps"], // prettier-ignore
  ["a Split that joins", { ...LLAMA3, ...split({ behavior: "MergedWithNext" }) }, "got the steps"], // prettier-ignore
  ["digits together", { ...BYTES, ...steps({ type: "Digits", individual_digits: false }, { type: "ByteLevel" }) }, "got the steps"], // prettier-ignore
  ...PRE.flatMap((type): [string, object, string][] => [
    [`${type} before bytes`, { ...BYTES, ...steps({ type }, { type: "ByteLevel" }) }, "got the steps"], // prettier-ignore
    [`${type} of pieces`, { ...PIECES, pre_tokenizer: { type } }, `a pre-tokenizer {"type":"${type}"`], // prettier-ignore
    [`${type} of likely ones`, { ...LIKELY, pre_tokenizer: { type } }, `a pre-tokenizer {"type":"${type}"`], // prettier-ignore
  ]),
  [
    "Metaspace that prepends",
    { ...PIECES, normalizer: null, pre_tokenizer: metaspace("first", false) },
    "a Metaspace that puts",
  ],
  [
    "no spaces written",
    { ...PIECES, normalizer: null },
    "no step that writes spaces",
  ],
  [
    "likely ones without Metaspace",
    { ...LIKELY, pre_tokenizer: null },
    "no Metaspace",
  ],
  [
    "Metaspace alone",
    { ...LIKELY, pre_tokenizer: metaspace("always") },
    '`prepend_scheme` "always" beside',
  ],
  [
    "Metaspace of the first word",
    { ...LIKELY, ...steps({ type: "WhitespaceSplit" }, metaspace("first")) },
    '`prepend_scheme` "first" behind',
  ],
  [
    "spaces at the end",
    { ...LIKELY, normalizer: repeated, pre_tokenizer: metaspace("always") },
    '`prepend_scheme` "always" beside',
  ],
  [
    "another sign of a space",
    { ...LIKELY, pre_tokenizer: { ...metaspace("always"), replacement: "_" } },
    '`replacement` "_"',
  ],
  [
    "a piece across words",
    {
      ...withModel(LIKELY, {
        vocab: [
          ["<unk>", 0],
          ["a▁b", -1],
        ],
        unk_id: 0,
      }),
      added_tokens: [],
    },
    'beside the piece "a▁b"',
  ],
  ...DECODERS.flatMap((type) =>
    [BYTES, PIECES, LIKELY].map((file, i): [string, object, string] => [
      `the decoder ${type}, ${i}`,
      { ...file, decoder: { type } },
      `a decoder {"type":"${type}"`,
    ]),
  ),
  [
    "a Strip of two",
    { ...PIECES, decoder: { type: "Strip", content: " ", start: 2, stop: 0 } },
    "a decoder",
  ],
  ...["dropout", "continuing_subword_prefix", "end_of_word_suffix"].flatMap(
    (key) =>
      [BYTES, PIECES].map((file, i): [string, object, string] => [
        `${key}, ${i}`,
        withModel(file, { [key]: key === "dropout" ? 0.1 : "##" }),
        `\`${key}\``,
      ]),
  ),
  [
    "unk_token for bytes",
    withModel(BYTES, { unk_token: "<unk>" }),
    '`unk_token` "<unk>" beside 240 of 256',
  ],
  [
    "byte_fallback of bytes",
    withModel(BYTES, { byte_fallback: true }),
    "`byte_fallback` beside 240 of 256",
  ],
  [
    "byte_fallback of likely ones",
    withModel(LIKELY, { byte_fallback: true }),
    "`byte_fallback` of a Unigram",
  ],
  [
    "ignore_merges of pieces",
    withModel(PIECES, { ignore_merges: true }),
    "`ignore_merges` true",
  ],
  [
    "words taken whole",
    withModel(BYTES, {
      ignore_merges: true,
      merges: ["l l", "h e", "Ġ w", "1 2", "12 3", "123 4"],
    }),
    '`ignore_merges` true beside the token "hell"',
  ],
  [
    "words not taken whole",
    withModel(LLAMA3, {
      merges: ["l l", "h e", "Ġ w", "1 2", "12 3", "123 4"],
    }),
    '`ignore_merges` false beside the token "hell"',
  ],
  [
    "a merge with a space",
    withModel(BYTES, { merges: [["a b", "c"]] }),
    "the merge",
  ],
  ...["single_word", "lstrip", "rstrip"].map(
    (key): [string, object, string] => [
      `${key} of an added token`,
      { ...BYTES, ...added({ [key]: true }) },
      `\`${key}\` of the added token "<word>"`,
    ],
  ),
  [
    "an added token found in normalized text",
    { ...PIECES, ...added({}) },
    'the added token "<word>", which is `normalized`',
  ],
  [
    "two signs in front",
    { ...BYTES, ...template("<|end|>", "<|end|>", "A") },
    "the post-processor",
  ],
  [
    "two post-processors",
    {
      ...BYTES,
      post_processor: {
        type: "Sequence",
        processors: [
          template("<|end|>", "A").post_processor,
          template("A", "<|end|>").post_processor,
        ],
      },
    },
    "the post-processor",
  ],
  [
    "another post-processor",
    { ...BYTES, post_processor: { type: "Else" } },
    "the post-processor",
  ],
])("refused: %s", async (_, file, message) => {
  await expect(keysOf(file)).rejects.toThrow(message);
});

test("a sign that is not the model's first is refused, with what to do", async () => {
  const file = { ...BYTES, ...template("<tool>", "A") };
  await expect(keysOf(file, { bos_token: "<|end|>" })).rejects.toThrow(
    'a post-processor that puts "<tool>" before a text: llama.cpp puts the bos token there, which is "<|end|>". Keep the model in Hugging Face\'s format (format=hf)',
  );
});

const boolean = (keys: Map<string, GgufValue>, key: string) =>
  (keys.get(`tokenizer.ggml.${key}`) as { boolean: boolean } | undefined)
    ?.boolean;

describe("carried", () => {
  test.each<[string, object, boolean]>([
    ["Prepend and Replace", PIECES, true],
    [
      "Replace, then Prepend",
      { ...PIECES, ...sequence(replace, prepend) },
      true,
    ],
    ["Replace alone", { ...PIECES, ...sequence(replace) }, false],
    [
      "Gemma's Split at spaces that are none",
      {
        ...PIECES,
        ...sequence(replace),
        pre_tokenizer: {
          type: "Split",
          pattern: { String: " " },
          behavior: "MergedWithPrevious",
        },
      },
      false,
    ],
    [
      "Metaspace that prepends nothing",
      { ...PIECES, normalizer: null, pre_tokenizer: metaspace("never") },
      false,
    ],
    ["WhitespaceSplit and Metaspace", LIKELY, true],
    [
      "Metaspace of likely ones that prepends nothing",
      { ...LIKELY, pre_tokenizer: metaspace("never") },
      false,
    ],
  ])("a space in front: %s", async (_, file, prefix) => {
    expect(boolean(await keysOf(file), "add_space_prefix")).toBe(prefix);
  });

  test("spaces that repeat and those at the end go", async () => {
    const strip = { type: "Strip", strip_left: false, strip_right: true };
    const file = {
      ...LIKELY,
      ...sequence(repeated, strip),
      pre_tokenizer: metaspace("always"),
    };
    const keys = await keysOf(file);
    expect(boolean(keys, "remove_extra_whitespaces")).toBe(true);
    const plain = await keysOf({
      ...LIKELY,
      pre_tokenizer: metaspace("never"),
    });
    expect(boolean(plain, "remove_extra_whitespaces")).toBe(false);
  });

  test("a charsmap is the file's", async () => {
    const normalizer = {
      type: "Precompiled",
      precompiled_charsmap: btoa("map"),
    };
    const keys = await keysOf({ ...LIKELY, normalizer });
    expect(keys.get("tokenizer.ggml.precompiled_charsmap")).toEqual({
      uint8s: new TextEncoder().encode("map"),
    });
  });

  test.each<[string, object]>([
    ["a template", template("<|end|>", "A", "<tool>")],
    [
      "RobertaProcessing",
      {
        post_processor: {
          type: "RobertaProcessing",
          cls: ["<|end|>", 250],
          sep: ["<tool>", 251],
        },
      },
    ],
    [
      "BertProcessing",
      {
        post_processor: {
          type: "BertProcessing",
          cls: ["<|end|>", 250],
          sep: ["<tool>", 251],
        },
      },
    ],
  ])("signs around a text: %s", async (_, post) => {
    const keys = await keysOf({ ...BYTES, ...post });
    expect(boolean(keys, "add_bos_token")).toBe(true);
    expect(boolean(keys, "add_eos_token")).toBe(true);
    expect(keys.get("tokenizer.ggml.bos_token_id")).toEqual({ uint32: 250 });
    expect(keys.get("tokenizer.ggml.eos_token_id")).toEqual({ uint32: 251 });
  });

  test.each<[string, object, object, object]>([
    [
      "one",
      { chat_template: "of config" },
      { "chat_template.jinja": "of jinja" },
      { "tokenizer.chat_template": { string: "of config" } },
    ],
    [
      "one in a file",
      {},
      { "chat_template.jinja": "of jinja", "chat_template.json": "{}" },
      { "tokenizer.chat_template": { string: "of jinja" } },
    ],
    [
      "one in an older file",
      {},
      { "chat_template.json": JSON.stringify({ chat_template: "of json" }) },
      { "tokenizer.chat_template": { string: "of json" } },
    ],
    [
      "several",
      {
        chat_template: [
          { name: "default", template: "plain" },
          { name: "tool-use", template: "tools" },
        ],
      },
      {},
      {
        "tokenizer.chat_template": { string: "plain" },
        "tokenizer.chat_template.tool_use": { string: "tools" },
        "tokenizer.chat_templates": { strings: ["tool_use"] },
      },
    ],
    ["none", { chat_template: null }, {}, {}],
  ])("chat templates: %s", async (_, config, files, expected) => {
    const keys = await keysOf(BYTES, config, files);
    const found = [...keys].filter(([key]) => key.includes("chat_template"));
    expect(Object.fromEntries(found)).toEqual(expected);
  });

  test.each([[["plain"]], [[{ name: "", template: "x" }]], [[{ name: "a" }]]])(
    "a list that is none of chat templates is refused: %j",
    async (chat_template) => {
      await expect(keysOf(BYTES, { chat_template })).rejects.toThrow(
        "Expected `chat_template` to be a text, or a list of objects with `name` and `template`, got ",
      );
    },
  );

  test("what changes no token is taken", async () => {
    const file = {
      ...withModel(BYTES, {
        dropout: 0,
        continuing_subword_prefix: "",
        end_of_word_suffix: "",
        ignore_merges: true,
        unk_token: null,
      }),
      post_processor: { type: "ByteLevel", add_prefix_space: true },
      decoder: { type: "ByteLevel", add_prefix_space: true },
    };
    expect(boolean(await keysOf(file), "add_bos_token")).toBe(false);
  });

  test("a Split whose words are what is not removed cuts alike", async () => {
    const file = { ...LLAMA3, ...split({ behavior: "Removed", invert: true }) };
    const keys = await keysOf(file);
    expect(keys.get("tokenizer.ggml.pre")).toEqual({ string: "llama-bpe" });
  });

  test.each([
    ["composed", { type: "NFC" }, "qwen2"],
    ["as it is", null, "deepseek-r1-qwen"],
  ])(
    "Qwen's text %s, by the name of what cuts it, and back",
    async (_, normalizer, pre) => {
      const file = {
        ...fileOf("Qwen 2's, whose digits stand apart"),
        normalizer,
      };
      const keys = await keysOf(file);
      expect(keys.get("tokenizer.ggml.pre")).toEqual({ string: pre });
      const back = read(keys);
      expect(back.normalizer).toEqual(normalizer);
      expect(back.pre_tokenizer).toEqual(
        read(await keysOf({ ...file, normalizer: null })).pre_tokenizer,
      );
    },
  );

  test.each([
    ["Prepend", sequence(prepend, replace), true],
    ["none", sequence(replace), false],
  ])("a space in front, and back: %s", async (_, normalizer, prefix) => {
    const keys = await keysOf({ ...PIECES, ...normalizer });
    expect(boolean(keys, "add_space_prefix")).toBe(prefix);
    const back = read(keys);
    expect(back.normalizer).toEqual(normalizer.normalizer);
    const strips = (
      back.decoder as { decoders: { type: string }[] }
    ).decoders.some(({ type }) => type === "Strip");
    expect(strips).toBe(prefix);
  });

  test.each([
    ["llama3", "llama-bpe"],
    ["llama-v3", "llama-bpe"],
    ["llama4", "gpt-4o"],
    ["phi-2", "gpt-2"],
  ])("%s is read as %s", async (alias, name) => {
    const keys = await keysOf(LLAMA3);
    const named = (string: string) =>
      read(new Map([...keys, ["tokenizer.ggml.pre", { string }]]));
    expect(named(alias)).toEqual(named(name));
  });

  const bytesOf = (file: File, keeps: (byte: number) => boolean): File => {
    const vocab = Object.entries(file.model.vocab as Record<string, number>);
    const kept = vocab.filter(
      ([text]) =>
        !/^<0x..>$/.test(text) || keeps(parseInt(text.slice(3, 5), 16)),
    );
    return withModel(file, { vocab: Object.fromEntries(kept) });
  };

  test("bytes that no text needs may be missing", async () => {
    const space = 0x20;
    const needed = (byte: number) =>
      byte < 0xf5 && byte !== 0xc0 && byte !== 0xc1 && byte !== space;
    await keysOf(bytesOf(PIECES, needed));
    // One that is a piece itself.
    const file = bytesOf(PIECES, (byte) => byte !== 0x7e);
    const vocab = { ...(file.model.vocab as object), "~": 290 };
    await keysOf(withModel(file, { vocab }));
  });

  const withPieces = (pieces: string[], merges: string[]): File => {
    const vocab = { ...(PIECES.model.vocab as Record<string, number>) };
    for (const piece of pieces) vocab[piece] = Object.keys(vocab).length;
    return withModel(PIECES, {
      vocab,
      merges: [...merges, ...(PIECES.model.merges as string[])],
    });
  };

  test.each<[string[], string[], string]>([
    [["he"], [], '"h" and "e" beside "he"'],
    // No piece itself.
    [["xe"], [], '"x" and "e" beside "xe"'],
    // Another merge would make it, were its parts there.
    [["he", "the"], ["h e", "th e"], '"t" and "he" beside "the"'],
  ])(
    "pieces that merges leave, which llama.cpp joins, are refused: %j by %j",
    async (pieces, merges, message) => {
      await expect(keysOf(withPieces(pieces, merges))).rejects.toThrow(
        `got the pieces ${message}, which no merge makes of them: llama.cpp joins two pieces whose text is a third`,
      );
    },
  );

  test("a piece that one of its merges makes alone is carried", async () => {
    // `th` is made before `he`, and nothing leaves `t` beside `he`.
    const merges = [...(PIECES.model.merges as string[]), "h e", "th e"];
    await keysOf(withModel(withPieces(["he", "the"], []), { merges }));
  });

  test.each([
    [0x0a, "<0x0A>"],
    [0x7e, "<0x7E>"],
    [0x80, "<0x80>"],
    [0xf4, "<0xF4>"],
  ])(
    "a byte %i that a text may need and no token is, is refused",
    async (missing, token) => {
      const some = keysOf(bytesOf(PIECES, (byte) => byte !== missing));
      await expect(some).rejects.toThrow(
        `without the byte ${token}: llama.cpp takes no text`,
      );
      const none = keysOf(bytesOf(PIECES, () => false));
      await expect(none).rejects.toThrow("without the byte <0x00> and");
    },
  );

  test("a text of two tokens is refused", async () => {
    const file = {
      ...BYTES,
      added_tokens: [{ id: 280, content: "hell", special: false }],
    };
    await expect(keysOf(file)).rejects.toThrow(
      `the token "hell" as 242 and as 280: llama.cpp loads no vocabulary with a text twice`,
    );
  });
});

/** What a GGUF of these keys is read as. */
function read(keys: ReadonlyMap<string, GgufValue>): Record<string, unknown> {
  const pairs = new Map(
    Array.from(keys, ([key, value]) => [key, encodePair(key, value)]),
  );
  return JSON.parse(vocabularyOfGguf(new GgufKeys(pairs)).tokenizer!) as Record<
    string,
    unknown
  >;
}
