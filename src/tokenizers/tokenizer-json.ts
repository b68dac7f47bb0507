/** A tokenizer as Hugging Face's `tokenizer.json`: byte-level BPE as GPT-2's, its vocabulary ordered by id. */
import { parsedObject } from "../api/json.ts";
import { AppError } from "../api/errors.ts";
import { BYTE_LEVEL } from "../checkpoints/byte-level-step.ts";
import { Bpe, BYTE_VOCABULARY, type Merge } from "./bpe.ts";
import { BYTE_CHARACTERS } from "./byte-level.ts";

export function writeTokenizerJson(bpe: Bpe): string {
  const names = bpe
    .tokens()
    .map((bytes) =>
      Array.from(bytes, (byte) => BYTE_CHARACTERS[byte]).join(""),
    );
  return JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: BYTE_LEVEL,
    post_processor: null,
    decoder: BYTE_LEVEL,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(names.map((name, id) => [name, id])),
      merges: bpe.merges.map((pair) => pair.map((id) => names[id])),
    },
  });
}

/** Reads what `writeTokenizerJson` wrote. Errors: `malformed_body` for any other tokenizer */
export function readTokenizerJson(json: string): Bpe {
  const { vocab, merges } = modelOf(json);
  const ids = new Map(Object.entries(vocab));
  for (const [byte, name] of BYTE_CHARACTERS.entries()) {
    if (ids.get(name) !== byte) throw foreign(`byte ${byte} as id ${byte}`);
  }
  const pairs = merges.map((names, index): Merge => {
    const [left, right] = names.map((name) => ids.get(name));
    const id = BYTE_VOCABULARY + index;
    if (
      left === undefined ||
      right === undefined ||
      ids.get(names.join("")) !== id
    ) {
      throw foreign(`merge ${index} to make id ${id} of two earlier ones`);
    }
    return [left, right];
  });
  return new Bpe(pairs);
}

type Json = {
  model?: {
    type?: string;
    vocab?: Record<string, number>;
    merges?: [string, string][];
  };
};

function objectOf(json: string): Json {
  const value = parsedObject(json);
  if (value) return value;
  throw foreign("an object");
}

function modelOf(json: string) {
  const { model } = objectOf(json);
  if (model?.type !== "BPE" || !model.vocab || !model.merges) {
    throw foreign("a byte-level BPE");
  }
  return { vocab: model.vocab, merges: model.merges };
}

function foreign(expected: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected a tokenizer.json of this project, with ${expected}`,
  );
}
