/**
 * The tokenizer.json of a model of which there is a GGUF, as far as its keys tell: tokens, how text is cut and what is joined
 * first. As transformers makes one of a GGUF, and as llama.cpp takes the keys that are not there.
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

const PREFIX = "tokenizer.ggml.";
/** SentencePiece's signs, where keys tell no others. */
const PIECES_BOS = 1;
const PIECES_EOS = 2;

/** Undefined where tokens have no texts. Errors: `invalid_option` for a tokenizer that is not read; `malformed_body` */
export function tokenizerOfGguf(keys: GgufKeys): string | undefined {
  const texts = keys.texts(`${PREFIX}tokens`);
  const isNamed = texts?.some((text, id) => text !== `<${id}>`);
  if (!texts || !isNamed) return undefined;
  const vocabulary = new Vocabulary(keys, texts);
  const kind = keys.text(`${PREFIX}model`);
  if (kind !== "gpt2" && kind !== "llama")
    throw new AppError(
      "invalid_option",
      `Expected a GGUF with \`${PREFIX}model\` gpt2 or llama, got ${kind === undefined ? "none" : shown(kind)}`,
    );
  const own = kind === "gpt2" ? byteLevel(keys, vocabulary) : pieces(keys, vocabulary); // prettier-ignore
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
  readonly #types: readonly number[];

  constructor(keys: GgufKeys, texts: readonly string[]) {
    this.texts = texts;
    this.#types = keys.numbers(`${PREFIX}token_type`) ?? [];
  }

  isOf(id: number, ...types: number[]): boolean {
    return types.includes(this.#types[id] ?? TOKEN_TYPE.normal);
  }

  /** Id by text; rows of the table that no text uses have none. */
  ids(): Record<string, number> {
    const ids = Object.create(null) as Record<string, number>;
    for (const [id, text] of this.texts.entries())
      if (!this.isOf(id, TOKEN_TYPE.unused)) ids[text] ??= id;
    return ids;
  }

  /** Those that are found in a text before it is cut. */
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

/** Byte pairs whose tokens are bytes, as GPT-2's. */
function byteLevel(keys: GgufKeys, vocabulary: Vocabulary): object {
  const pre = knownName(keys.text(`${PREFIX}pre`));
  const steps = preTokenizerSteps(pre);
  const vocab = vocabulary.ids();
  // llama.cpp wants one merge at least: that of a file without any makes no token.
  const merges = (keys.texts(`${PREFIX}merges`) ?? []).filter(
    (pair) => vocab[pair.replace(" ", "")] !== undefined,
  );
  return {
    normalizer: normalizerOf(pre),
    pre_tokenizer:
      steps.length === 1
        ? steps[0]
        : { type: "Sequence", pretokenizers: steps },
    post_processor: template(keys, vocabulary, {
      bos: IGNORES_MERGES.includes(pre),
    }),
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

/** SentencePiece's byte pairs, as Llama 2's. */
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
    post_processor: template(keys, vocabulary, {
      bos: true,
      ids: [PIECES_BOS, PIECES_EOS],
    }),
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

/** Signs before and behind a text, where it gets any; `bos` and `ids` are what is so without a key. */
function template(
  keys: GgufKeys,
  { texts }: Vocabulary,
  untold: { bos: boolean; ids?: readonly [bos: number, eos: number] },
): object | null {
  const sign = (name: "bos" | "eos", adds: boolean, own?: number) => {
    const id = keys.number(`${PREFIX}${name}_token_id`) ?? own;
    const isAdded = keys.boolean(`${PREFIX}add_${name}_token`) ?? adds;
    const text = id === undefined ? undefined : texts[id];
    return isAdded && text !== undefined ? [{ id: id!, text }] : [];
  };
  const before = sign("bos", untold.bos, untold.ids?.[0]);
  const behind = sign("eos", false, untold.ids?.[1]);
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

/** What ends a text: its end, that of a turn, and of a message, as llama.cpp has them. */
export function endingsOfGguf(keys: GgufKeys): number[] {
  const isPieces = keys.text(`${PREFIX}model`) === "llama";
  const eos = keys.number(`${PREFIX}eos_token_id`) ?? (isPieces ? PIECES_EOS : undefined); // prettier-ignore
  const others = ["eot", "eom"].map((name) =>
    keys.number(`${PREFIX}${name}_token_id`),
  );
  return [eos, ...others].filter((id) => id !== undefined);
}
