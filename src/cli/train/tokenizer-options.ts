/** The tokenizer of a run, by typed options. */
import { BPE_VOCABULARY, type TokenizerName } from "../../api/dataset.ts";
import { BYTE_VOCABULARY } from "../../tokenizers/bpe.ts";
import { UsageError } from "../file-arguments.ts";
import type { ToldArgs, TrainArgs } from "./arguments.ts";
import { count } from "../numbers.ts";
import type { Origin } from "./origin.ts";

/** An imported model determines its own tokenizer. */
export function tokenizerOf(
  args: TrainArgs,
  told: ToldArgs,
  origin: Origin | undefined,
): { tokenizer: TokenizerName; vocabulary: number } {
  const isGiven = origin?.tokenizer !== undefined;
  if (isGiven && (told.tokenizer ?? told.vocabulary) !== undefined)
    throw new UsageError(
      `Expected no --tokenizer or --vocabulary with --from and a model that has a tokenizer, got ${told.tokenizer ?? told.vocabulary}`,
    );
  if (!origin || told.tokenizer || told.vocabulary) {
    const tokenizer = args.tokenizer;
    return { tokenizer, vocabulary: vocabularyOf(tokenizer, args.vocabulary) };
  }
  const { vocabulary } = origin.shape;
  if (isGiven) return { tokenizer: "bpe", vocabulary };
  if (vocabulary === BYTE_VOCABULARY) return { tokenizer: "byte", vocabulary };
  const { least, most } = BPE_VOCABULARY;
  const others =
    vocabulary >= least && vocabulary <= most
      ? `--tokenizer bpe --vocabulary ${vocabulary} learns a new one from the text`
      : `a new one cannot be learned from the text, since its vocabulary would have to be ${least} to ${most}`;
  throw new UsageError(
    `Expected the model of --from to have a tokenizer.json, or its equivalent in a GGUF, with byte-level BPE as used here (ids of the 256 bytes in order, then one per merge, no special tokens), since its weights belong to the ${vocabulary} ids of its tokenizer, got none; ${others}`,
  );
}

function vocabularyOf(
  tokenizer: TokenizerName,
  text: string | undefined,
): number {
  if (tokenizer === "byte") {
    if (text === undefined) return BYTE_VOCABULARY;
    throw new UsageError(
      `Expected --vocabulary only with --tokenizer bpe, got ${text} with byte, which has ${BYTE_VOCABULARY}`,
    );
  }
  const { least, most, default: fallback } = BPE_VOCABULARY;
  const vocabulary = count("vocabulary", text, fallback, least);
  if (vocabulary <= most) return vocabulary;
  throw new UsageError(
    `Expected --vocabulary to be at most ${most}, got ${vocabulary}`,
  );
}
