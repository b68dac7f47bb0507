/**
 * Recognizes a tokenizer of this project in a tokenizer.json that another program rewrote, e.g. transformers, or that
 * comes from a GGUF.
 */
import { parsedObject } from "../api/json.ts";
import { AppError } from "../api/errors.ts";
import type { TokenizerFile } from "./foreign-parts.ts";
import { renumberedBpe } from "./renumbered-bpe.ts";
import { readTokenizerJson, writeTokenizerJson } from "./tokenizer-json.ts";

type OwnModel = {
  vocab: Readonly<Record<string, number>>;
  merges: readonly (string | readonly string[])[];
};

/**
 * The tokenizer as `writeTokenizerJson` writes it. Undefined for any other: one that splits text differently, has added
 * tokens, or whose ids are not the 256 bytes followed by one per merge.
 */
export function ownTokenizer(json: string): string | undefined {
  const { added_tokens: added = [], model } = (parsedObject(json) ??
    {}) as TokenizerFile;
  if (added.length > 0 || !renumberedBpe(json)) return undefined;
  const { vocab, merges } = model as unknown as OwnModel;
  const pairs = merges.map((pair) =>
    typeof pair === "string" ? pair.split(" ") : pair,
  );
  const own = { model: { ...model, merges: pairs } };
  try {
    const bpe = readTokenizerJson(JSON.stringify(own));
    const isWhole = Object.keys(vocab).length === bpe.vocabulary;
    return isWhole ? writeTokenizerJson(bpe) : undefined;
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}
