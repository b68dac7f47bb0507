/** What tokens of a run are. */
import { BPE_VOCABULARY, type TokenizerName } from "../../api/dataset.ts";
import { BYTE_VOCABULARY } from "../../tokenizers/bpe.ts";
import { UsageError } from "../file-arguments.ts";
import type { ToldArgs, TrainArgs } from "./arguments.ts";
import { count } from "../numbers.ts";
import type { Origin } from "./origin.ts";

/** A model that a run goes on from has its ids already. */
export function tokenizerOf(
  args: TrainArgs,
  told: ToldArgs,
  origin: Origin | undefined,
): { tokenizer: TokenizerName; vocabulary: number } {
  const isGiven = origin?.tokenizer !== undefined;
  if (isGiven && (told.tokenizer ?? told.vocabulary) !== undefined)
    throw new UsageError(
      `Expected neither --tokenizer nor --vocabulary with --from and a model that has byte pairs, got ${told.tokenizer ?? told.vocabulary}`,
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
      ? `--tokenizer bpe --vocabulary ${vocabulary} learns others from the text`
      : `others cannot be learned from the text, which is for ${least} to ${most}`;
  throw new UsageError(
    `Expected a tokenizer.json beside the model that --from names, or its like in a GGUF, of byte pairs that are cut as here (ids of the bytes in order, then one for each merge, without signs), since what it knows is of the ${vocabulary} ids of its tokenizer, got none of the kind; ${others}`,
  );
}

function vocabularyOf(
  tokenizer: TokenizerName,
  text: string | undefined,
): number {
  if (tokenizer === "byte") {
    if (text === undefined) return BYTE_VOCABULARY;
    throw new UsageError(
      `Expected --vocabulary with --tokenizer bpe alone, got ${text} with byte, which has ${BYTE_VOCABULARY}`,
    );
  }
  const { least, most, default: fallback } = BPE_VOCABULARY;
  const vocabulary = count("vocabulary", text, fallback, least);
  if (vocabulary <= most) return vocabulary;
  throw new UsageError(
    `Expected --vocabulary to be at most ${most}, got ${vocabulary}`,
  );
}
