/**
 * A tokenizer.json of others: byte-level BPE as GPT-2, Llama 3 and Qwen have it, or SentencePiece's as Llama 2 and Mistral. A
 * prompt is cut by Hugging Face's own reader, signs of the template included; what an id stands for follows from its name, byte
 * for byte, since a text may end inside of a character.
 */
import { parsedObject } from "../api/json.ts";
import { Tokenizer } from "@huggingface/tokenizers";
import { AppError } from "../api/errors.ts";
import { shown } from "../api/option-kinds.ts";
import { BYTE_CHARACTERS } from "./byte-level.ts";
import type { TextTokenizer } from "./text-tokenizer.ts";

/** The reader keeps 7 to 11 for each byte of a file, and takes up to 16 while it reads. */
const HELD_FOR_EACH_BYTE = 16;
const NONE = new Uint8Array(0);
/** SentencePiece's space. */
const SPACE = "▁";

/** What one takes in memory, about. */
export function foreignBytes(json: string): number {
  return HELD_FOR_EACH_BYTE * json.length;
}

type AddedToken = { id: number; content: string; special?: boolean };
type Part = {
  type?: string;
  decoders?: Part[];
  pattern?: { String?: string };
};
type Json = {
  added_tokens?: AddedToken[];
  decoder?: Part | null;
  model?: { type?: string };
};

export class ForeignTokenizer implements TextTokenizer {
  readonly vocabulary: number;
  readonly #tokenizer: Tokenizer;
  readonly #added: ReadonlyMap<number, AddedToken>;
  readonly #bytesOf: (name: string) => Uint8Array;

  /**
   * `config` is what tokenizer_config.json says. Errors: `malformed_body`, what neither reads, or whose tokens are no pieces of
   * text
   */
  constructor(json: string, config: string | undefined) {
    const parsed = objectIn("tokenizer.json", json) as Json;
    this.#bytesOf = bytesOf(parsed);
    this.#added = new Map(
      (parsed.added_tokens ?? []).map((token) => [token.id, token]),
    );
    const whole = {
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      ...parsed,
    };
    const told = config && objectIn("tokenizer_config.json", config);
    try {
      this.#tokenizer = new Tokenizer(whole, told || {});
    } catch (error) {
      throw unread("that is read here", (error as Error).message);
    }
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

/** By the decoder: characters that stand for bytes, or pieces of text with some for bytes among them. */
function bytesOf({ decoder, model }: Json): (name: string) => Uint8Array {
  const type = model?.type ?? null;
  if (type !== "BPE" && type !== "Unigram")
    throw unread("of a BPE or a Unigram", shown(type));
  const parts = decoder ? [decoder, ...(decoder.decoders ?? [])] : [];
  if (parts.some(({ type }) => type === "ByteLevel")) return byteLevel;
  const isSpace = ({ type, pattern }: Part) =>
    type === "Metaspace" || (type === "Replace" && pattern?.String === SPACE);
  if (parts.some(isSpace)) return pieces;
  throw unread(
    "whose decoder has ByteLevel, or Metaspace as SentencePiece",
    `${type} with ${shown(decoder?.type ?? null)}`,
  );
}

const BYTE_OF = new Map(BYTE_CHARACTERS.map((char, byte) => [char, byte]));

function byteLevel(name: string): Uint8Array {
  const bytes = Array.from(name, (char) => BYTE_OF.get(char));
  return bytes.includes(undefined)
    ? utf8.encode(name)
    : Uint8Array.from(bytes as number[]);
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

function unread(expected: string, got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected a tokenizer.json ${expected}, got ${got}`,
  );
}
