/**
 * Builds a tokenizer.json from a GGUF's keys: tokens, pre-tokenizer and merges. Follows transformers' conversion,
 * with llama.cpp's defaults for missing keys.
 */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import { BYTE_LEVEL } from "../byte-level-step.ts";
import {
  IGNORES_MERGES,
  knownName,
  normalizerOf,
  preTokenizerSteps,
} from "../gguf/pre-tokenizers.ts";
import { TOKEN_TYPE } from "../gguf/tokens.ts";
import type { GgufKeys } from "./keys.ts";
import { mergesByScore } from "./merges-by-score.ts";
import { type GgufSigns, signsOfGguf } from "./signs.ts";

const PREFIX = "tokenizer.ggml.";

export type GgufVocabulary = {
  /** Undefined where tokens have no texts. */
  tokenizer: string | undefined;
  /** What ends a text. */
  endings: readonly number[];
};

/** Errors: `invalid_option` for a tokenizer that is not read; `malformed_body` */
export function vocabularyOfGguf(keys: GgufKeys): GgufVocabulary {
  const texts = keys.texts(`${PREFIX}tokens`) ?? [];
  const signs = signsOfGguf(keys, texts);
  const isNamed = texts.some((text, id) => text !== `<${id}>`);
  const tokenizer = isNamed ? tokenizerOf(keys, texts, signs) : undefined;
  return { tokenizer, endings: signs.endings };
}

function tokenizerOf(
  keys: GgufKeys,
  texts: readonly string[],
  signs: GgufSigns,
): string {
  const vocabulary = new Vocabulary(keys, texts, signs);
  const kind = keys.text(`${PREFIX}model`);
  if (kind !== "gpt2" && kind !== "llama")
    throw new AppError(
      "invalid_option",
      `Expected a GGUF with \`${PREFIX}model\` gpt2 or llama, got ${kind === undefined ? "none" : shown(kind)}`,
    );
  const own =
    kind === "gpt2" ? byteLevel(keys, vocabulary) : pieces(keys, vocabulary);
  return JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: vocabulary.added(),
    ...own,
  });
}

class Vocabulary {
  readonly texts: readonly string[];
  readonly signs: GgufSigns;
  readonly #types: readonly number[];

  constructor(keys: GgufKeys, texts: readonly string[], signs: GgufSigns) {
    this.texts = texts;
    this.signs = signs;
    this.#types = keys.numbers(`${PREFIX}token_type`) ?? [];
  }

  isOf(id: number, ...types: number[]): boolean {
    const type = this.signs.types.get(id) ?? this.#types[id];
    return types.includes(type ?? TOKEN_TYPE.normal);
  }

  /** Id by text; unused rows of the table have none. */
  ids(): Record<string, number> {
    const ids = Object.create(null) as Record<string, number>;
    for (const [id, text] of this.texts.entries()) {
      if (this.isOf(id, TOKEN_TYPE.unused)) continue;
      if (ids[text] !== undefined)
        throw new AppError(
          "malformed_body",
          `Expected a GGUF whose tokens have a text each, got ${shown(text)} as ${ids[text]} and as ${id}`,
        );
      ids[text] = id;
    }
    return ids;
  }

  /** Added tokens, which are matched in a text before it is split. */
  added(): object[] {
    const { control, userDefined, unknown } = TOKEN_TYPE;
    const plain = {
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    };
    return this.texts.flatMap((content, id) =>
      this.isOf(id, control, userDefined, unknown)
        ? [{ id, content, ...plain, special: !this.isOf(id, userDefined) }]
        : [],
    );
  }

  textOf(type: number): string | undefined {
    return this.texts.find((_, id) => this.isOf(id, type));
  }
}

const MODEL = {
  type: "BPE",
  dropout: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
} as const;

/** Byte-level BPE, as in GPT-2. */
function byteLevel(keys: GgufKeys, vocabulary: Vocabulary): object {
  const pre = knownName(keys.text(`${PREFIX}pre`));
  const steps = preTokenizerSteps(pre);
  const vocab = vocabulary.ids();
  // llama.cpp needs at least one merge; in a file without merges, a dummy one makes no token.
  const merges = (keys.texts(`${PREFIX}merges`) ?? []).filter(
    (pair) => vocab[pair.replace(" ", "")] !== undefined,
  );
  return {
    normalizer: normalizerOf(pre),
    pre_tokenizer:
      steps.length === 1
        ? steps[0]
        : { type: "Sequence", pretokenizers: steps },
    post_processor: template(keys, vocabulary, IGNORES_MERGES.includes(pre)),
    decoder: BYTE_LEVEL,
    model: {
      ...MODEL,
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: IGNORES_MERGES.includes(pre),
      vocab,
      merges,
    },
  };
}

const SPACE = "▁";

/** SentencePiece BPE, as in Llama 2. */
function pieces(keys: GgufKeys, vocabulary: Vocabulary): object {
  const replace = {
    type: "Replace",
    pattern: { String: " " },
    content: SPACE,
  };
  const hasPrefix = keys.boolean(`${PREFIX}add_space_prefix`) ?? true;
  const prepend = { type: "Prepend", prepend: SPACE };
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  const scores = keys.numbers(`${PREFIX}scores`);
  if (scores?.length !== vocabulary.texts.length)
    throw new AppError(
      "malformed_body",
      `Expected a GGUF with \`${PREFIX}scores\` of ${vocabulary.texts.length} tokens, got ${scores?.length ?? "none"}`,
    );
  const { normal, userDefined } = TOKEN_TYPE;
  const vocab = vocabulary.ids();
  return {
    normalizer: {
      type: "Sequence",
      normalizers: hasPrefix ? [prepend, replace] : [replace],
    },
    pre_tokenizer: null,
    post_processor: template(keys, vocabulary, true),
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: SPACE }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(hasPrefix ? [strip] : []),
      ],
    },
    model: {
      ...MODEL,
      unk_token: vocabulary.textOf(TOKEN_TYPE.unknown) ?? null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab,
      merges: mergesByScore(vocab, (id) =>
        vocabulary.isOf(id, normal, userDefined) ? scores[id] : undefined,
      ),
    },
  };
}

/** GgufSigns before and behind a text, where it gets any; `hasBos`: whether it gets the first without a key. */
function template(
  keys: GgufKeys,
  { texts, signs: { bos, eos } }: Vocabulary,
  hasBos: boolean,
): object | null {
  const sign = (name: "bos" | "eos", adds: boolean, id: number | undefined) => {
    const isAdded = keys.boolean(`${PREFIX}add_${name}_token`) ?? adds;
    if (!isAdded) return [];
    if (id !== undefined) return [{ id, text: texts[id]! }];
    throw new AppError(
      "malformed_body",
      `Expected a GGUF with the token of \`${PREFIX}${name}_token_id\`, which it puts around a text, got none`,
    );
  };
  const before = sign("bos", hasBos, bos);
  const behind = sign("eos", false, eos);
  const signs = [...before, ...behind];
  if (signs.length === 0) return null;
  const inText = ({ text }: { text: string }) => ({
    SpecialToken: { id: text, type_id: 0 },
  });
  const single = [
    ...before.map(inText),
    { Sequence: { id: "A", type_id: 0 } },
    ...behind.map(inText),
  ];
  return {
    type: "TemplateProcessing",
    single,
    pair: [...single, { Sequence: { id: "B", type_id: 0 } }],
    special_tokens: Object.fromEntries(
      signs.map(({ id, text }) => [
        text,
        { id: text, ids: [id], tokens: [text] },
      ]),
    ),
  };
}
