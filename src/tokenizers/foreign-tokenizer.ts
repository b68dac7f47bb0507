/**
 * A foreign tokenizer.json: byte-level BPE as of GPT-2, Llama 3 and Qwen, or SentencePiece as of Llama 2 and Mistral.
 * Encoding uses @huggingface/tokenizers ("the reader"), added tokens included; decoding is done here, byte by byte from
 * the tokens' names, since a token may end within a character.
 */
import { parsedObject } from "../api/json.ts";
import { ByteLevelPreTokenizer, Tokenizer } from "@huggingface/tokenizers";
import { AppError } from "../api/errors.ts";
import { shown } from "../api/option-kinds.ts";
import { nameBytes, word } from "./byte-level.ts";
import { CLASSES } from "./character-classes.ts";
import {
  type AddedToken,
  exactParts,
  partsInOrder,
  type TokenizerFile,
  type TokenizerPart,
  unread,
} from "./foreign-parts.ts";
import type { TextTokenizer } from "./text-tokenizer.ts";

/** The reader holds 7 to 11 bytes per byte of a file, and up to 16 while parsing. */
const BYTES_PER_FILE_BYTE = 16;
const NONE = new Uint8Array(0);
/** SentencePiece's symbol for a space. */
const SPACE = "▁";

/**
 * transformers uses `add_prefix_space` of tokenizer_config.json, the reader that of the step ByteLevel in `json`.
 * Errors: `malformed_body` if the config is given and no object; `invalid_config` if the two differ
 */
export function checkTokenizerConfig(
  config: string | undefined,
  json: string | undefined,
): void {
  if (!config) return;
  const { add_prefix_space: told } = objectIn(
    "tokenizer_config.json",
    config,
  ) as TokenizerPart;
  if (typeof told !== "boolean" || json === undefined) return;
  const { pre_tokenizer: step } = objectIn(
    "tokenizer.json",
    json,
  ) as TokenizerFile;
  const other = partsInOrder(step ?? null, "pretokenizers").find(
    ({ type, add_prefix_space: own }) =>
      type === "ByteLevel" && own !== told && typeof own === "boolean",
  );
  if (other)
    throw new AppError(
      "invalid_config",
      `Expected tokenizer_config.json with the \`add_prefix_space\` of tokenizer.json, ${shown(other.add_prefix_space)}, got ${told}: a prompt would be cut otherwise`,
    );
}

/** Approximate memory of a tokenizer, in bytes. */
export function foreignBytes(json: string): number {
  return BYTES_PER_FILE_BYTE * json.length;
}

export class ForeignTokenizer implements TextTokenizer {
  readonly vocabulary: number;
  readonly #tokenizer: Tokenizer;
  readonly #added: ReadonlyMap<number, AddedToken>;
  readonly #bytesOf: (name: string) => Uint8Array;

  /** Errors: `malformed_body` for an unsupported file */
  constructor(json: string) {
    const parsed = exactParts(objectIn("tokenizer.json", json));
    this.#bytesOf = bytesOf(parsed);
    this.#added = new Map(
      (parsed.added_tokens ?? []).map((token) => [token.id, token]),
    );
    try {
      this.#tokenizer = new Tokenizer(parsed, {});
    } catch (error) {
      throw unread("that is read here", (error as Error).message);
    }
    correctReader(this.#tokenizer);
    let last = -1;
    for (const id of this.#tokenizer.get_vocab(true).values())
      last = Math.max(last, id);
    this.vocabulary = last + 1;
  }

  encode(text: string): number[] {
    const { ids, tokens } = this.#tokenizer.encode(text);
    return ids.map((id, at) => {
      if (Number.isSafeInteger(id)) return id;
      throw new AppError(
        "invalid_option",
        `Expected \`prompt\` of tokens that the model has, got ${shown(tokens[at])}`,
      );
    });
  }

  spelling(): (id: number) => Uint8Array {
    const known = new Map<number, Uint8Array>();
    return (id) => {
      const found = known.get(id);
      if (found) return found;
      const bytes = this.#spelled(id);
      known.set(id, bytes);
      return bytes;
    };
  }

  #spelled(id: number): Uint8Array {
    const added = this.#added.get(id);
    if (added?.special) return NONE;
    const name = added?.content ?? this.#tokenizer.id_to_token(id);
    return name === undefined ? NONE : this.#bytesOf(name);
  }
}

const utf8 = new TextEncoder();

/**
 * How a token's name becomes bytes, by the decoder: byte-level characters, or SentencePiece's pieces with byte tokens
 * (<0x0A>).
 */
function bytesOf({
  decoder,
  model,
}: TokenizerFile): (name: string) => Uint8Array {
  const types = partsInOrder(decoder ?? null, "decoders").map(
    ({ type }) => type,
  );
  if (types.includes("ByteLevel")) return nameBytes;
  // `checkDecoder` allows only a Replace of SentencePiece's space.
  if (types.includes("Metaspace") || types.includes("Replace")) return pieces;
  throw unread(
    "whose decoder has ByteLevel, or Metaspace as SentencePiece",
    `${String(model?.type)} with ${shown(decoder?.type ?? null)}`,
  );
}

function pieces(name: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(name);
  return byte
    ? Uint8Array.of(parseInt(byte[1]!, 16))
    : utf8.encode(name.replaceAll(SPACE, " "));
}

function objectIn(file: string, json: string): object {
  const value = parsedObject(json);
  if (value) return value;
  throw new AppError(
    "malformed_body",
    `Expected an object in ${file}, got other text`,
  );
}

/** The reader's internals that find added tokens in a text before it is split. */
type Finder = { split: (text: string) => string[] };
type Finders = {
  splitter_unnormalized: Finder;
  splitter_normalized: Finder;
  added_tokens_map: Map<string, AddedToken>;
};

const SPACES_FIRST = new RegExp(`^[${CLASSES.spaces}]+`, "u");
const SPACES_LAST = new RegExp(`[${CLASSES.spaces}]+$`, "u");

/**
 * Corrects where the reader differs from the Rust library: letters follow one Unicode version; unknown pieces are fused
 * within a word, not across words; `lstrip` and `rstrip` strip White_Space, and never from other added tokens.
 */
function correctReader(reader: Tokenizer): void {
  const { pre_tokenizer: steps, model } = reader;
  const { tokenizers = [] } = (steps ?? {}) as { tokenizers?: unknown[] };
  for (const step of tokenizers)
    if (step instanceof ByteLevelPreTokenizer) step.pattern = word();
  if (model) {
    const cut = model._call.bind(model);
    model._call = (words) => words.flatMap((word) => cut([word]));
  }
  const own = reader as unknown as Finders;
  const added = own.added_tokens_map;
  const stripping = new Map(
    Array.from(added, ([text, { lstrip, rstrip }]) => [
      text,
      { lstrip, rstrip },
    ]),
  );
  for (const token of added.values()) token.lstrip = token.rstrip = false;
  for (const finder of [own.splitter_unnormalized, own.splitter_normalized]) {
    const split = finder.split.bind(finder);
    finder.split = (text) => {
      const parts = split(text);
      return parts.map((part, i) => {
        if (stripping.has(part)) return part;
        const [before, after] = [parts[i - 1], parts[i + 1]].map(
          (near) => near !== undefined && stripping.get(near),
        );
        const rest =
          before && before.rstrip ? part.replace(SPACES_FIRST, "") : part;
        return after && after.lstrip ? rest.replace(SPACES_LAST, "") : rest;
      });
    };
  }
}
