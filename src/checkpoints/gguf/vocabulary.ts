/**
 * A GGUF's vocabulary, from the tokenizer.json or SentencePiece file beside the weights. It has as many tokens as the
 * token embedding has rows.
 */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import type { Folder } from "../read-heads.ts";
import type { Pairs } from "./hyperparameters.ts";
import { checkBytes } from "./carried-bytes.ts";
import { writesSpaces } from "./carried-pieces.ts";
import { checkAdded } from "./carried-signs.ts";
import { notCarried } from "./not-carried.ts";
import { readSentencePieces } from "./sentence-pieces.ts";
import { specialPairs } from "./special-tokens.ts";
import {
  parseTokenizerJson,
  TOKENIZER_FILE,
  type TokenizerJson,
} from "./tokenizer-json.ts";
import { vocabularyOf } from "./tokenizer-vocabulary.ts";
import { type Token, TOKEN_TYPE, type Vocabulary } from "./tokens.ts";

/** SentencePiece's symbol for a space. */
const SPACE = "▁";

/** Limit of the vocabulary: the names of more tokens are longer than the header of a GGUF may be. */
const MAX_TOKENS = 2 ** 22;

const SENTENCE_PIECE_FILES = ["tokenizer.model", "spiece.model"];

/**
 * All keys of the vocabulary. Without a tokenizer, tokens are named by their ids, since programs that use llama.cpp
 * fail on a file without tokenizer: it accepts ids, but no text. Errors: `malformed_body`, `invalid_option` for a
 * tokenizer that llama.cpp lacks
 */
export async function vocabularyPairs(
  folder: Folder,
  rows: number,
  config: Readonly<Record<string, unknown>>,
): Promise<Pairs> {
  if (rows > MAX_TOKENS)
    throw new AppError(
      "malformed_body",
      `Expected a token table of at most ${MAX_TOKENS} rows, got ${rows}`,
    );
  const json = await folder.text(TOKENIZER_FILE);
  const tokenizer = json === undefined ? undefined : parseTokenizerJson(json);
  if (tokenizer) checkAdded(tokenizer);
  const vocabulary =
    (await sentencePieces(folder)) ?? (tokenizer && vocabularyOf(tokenizer));
  if (vocabulary === undefined) return nameless(rows);
  const tokens = filled(withAdded(vocabulary, tokenizer), rows);
  checkDistinct(tokens);
  if (vocabulary.fallsBack) checkBytes(new Set(tokens.map(({ text }) => text)));
  return [
    ...vocabulary.pairs,
    ["tokenizer.ggml.tokens", { strings: tokens.map(({ text }) => text) }],
    ["tokenizer.ggml.token_type", { int32s: tokens.map(({ type }) => type) }],
    ...(vocabulary.hasScores
      ? ([
          [
            "tokenizer.ggml.scores",
            { float32s: tokens.map(({ score }) => score) },
          ],
        ] as const)
      : []),
    ...(await specialPairs(folder, tokens, tokenizer, config)),
  ];
}

function nameless(rows: number): Pairs {
  const strings = Array.from({ length: rows }, (_, id) => `<${id}>`);
  return [
    ["tokenizer.ggml.model", { string: "gpt2" }],
    ["tokenizer.ggml.pre", { string: "gpt-2" }],
    ["tokenizer.ggml.merges", { strings: [`${strings[0]} ${strings[0]}`] }],
    ["tokenizer.ggml.tokens", { strings }],
    [
      "tokenizer.ggml.token_type",
      { int32s: strings.map(() => TOKEN_TYPE.normal) },
    ],
  ];
}

export async function hasTokenizer(folder: Folder): Promise<boolean> {
  const names = (await folder.list()) ?? [];
  return [TOKENIZER_FILE, ...SENTENCE_PIECE_FILES].some((name) =>
    names.includes(name),
  );
}

async function sentencePieces(folder: Folder): Promise<Vocabulary | undefined> {
  const names = (await folder.list()) ?? [];
  const name = SENTENCE_PIECE_FILES.find((each) => names.includes(each));
  if (name === undefined) return undefined;
  const file = await folder.open(name);
  return readSentencePieces(await file.read(0, file.bytes), name);
}

/** Adds the tokenizer's added tokens, which are found before the model is applied. Errors: `invalid_option` */
function withAdded(
  { tokens, hasScores }: Vocabulary,
  tokenizer: TokenizerJson | undefined,
): (Token | undefined)[] {
  const all = [...tokens];
  const { added = [], normalizers = [] } = tokenizer ?? {};
  const isWritten = normalizers.some(writesSpaces);
  for (const token of added) {
    const { id, content, special = false, normalized = !special } = token;
    const { score = 0, type: own } = all[id] ?? {};
    const isUnknown = own === TOKEN_TYPE.unknown;
    const type = special ? TOKEN_TYPE.control : TOKEN_TYPE.userDefined;
    const hasSpace = hasScores && !special && content.includes(SPACE);
    // A text contains this symbol only if it replaces spaces; otherwise the piece is merged like others.
    const isFound = !hasSpace || (isWritten && normalized);
    if (!isFound && own === undefined)
      throw notCarried(
        `the added token ${shown(content)}, which is no piece`,
        `llama.cpp writes its ${SPACE} as they are`,
      );
    if (!isFound) continue;
    const text = hasSpace ? content.replaceAll(SPACE, " ") : content;
    all[id] = { text, score, type: isUnknown ? own : type };
  }
  return all;
}

/** Errors: `invalid_option` for two tokens with the same text */
function checkDistinct(tokens: readonly Token[]): void {
  const ids = new Map<string, number>();
  for (const [id, { text }] of tokens.entries()) {
    const other = ids.get(text);
    if (other !== undefined)
      throw notCarried(
        `the token ${shown(text)} as ${other} and as ${id}`,
        "llama.cpp loads no vocabulary with a text twice",
      );
    ids.set(text, id);
  }
}

/** One token per row; those that the tokenizer lacks are unused. */
function filled(tokens: readonly (Token | undefined)[], rows: number): Token[] {
  if (tokens.length > rows)
    throw new AppError(
      "malformed_body",
      `Expected a tokenizer of at most ${rows} tokens, as the table has rows, got ${tokens.length}`,
    );
  return Array.from(
    { length: rows },
    (_, id) =>
      tokens[id] ?? {
        text: `[PAD${id}]`,
        score: -1e4,
        type: TOKEN_TYPE.unused,
      },
  );
}
