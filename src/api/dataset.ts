/** The JSON of corpora, and of how they become tokens. */

/** What makes tokens of a text: each byte is one, or byte pairs that the text has taught. */
export const TOKENIZERS = ["byte", "bpe"] as const;

export type TokenizerName = (typeof TOKENIZERS)[number];

/** How many ids `bpe` may be asked for. */
export const BPE_VOCABULARY = { least: 512, most: 16_384, default: 2048 };

/** What a corpus is to a run. `tokens` and `digest` name its content, so a run that holds them is pinned. */
export type PinnedDataset = {
  name: string;
  /** Lower-case hexadecimal SHA-256 of the token bytes. */
  digest: string;
  tokens: number;
  tokenizer: TokenizerName;
  vocabulary: number;
};

/** A tokenizer is trained, then the text becomes tokens; only then can runs use it. */
export const DATASET_STATES = ["training", "ready", "failed"] as const;

export type DatasetState = (typeof DATASET_STATES)[number];

/** A corpus. Of one that is not ready, `digest` and `tokens` are null. */
export type Dataset = Omit<PinnedDataset, "digest" | "tokens"> & {
  digest: string | null;
  tokens: number | null;
  state: DatasetState;
  /** Of the text. */
  bytes: number;
  /** SHA-256 of the text. */
  textDigest: string;
  /** The share of the work that is done, from 0 to 1. */
  progress: number;
  /** Why it has failed. */
  error: { code: string; detail: string } | null;
};

/** How a text becomes a dataset. */
export type DatasetOptions = {
  tokenizer?: TokenizerName | undefined;
  /** Ids of `bpe`: fewer, where no pair is left in the text that occurs twice. */
  vocabulary?: number | undefined;
  /** A folder with a model of byte pairs, whose tokenizer is used. */
  from?: string | undefined;
};

/** A page of the datasets, by name; `next` is the `cursor` of the next one, null on the last. */
export type DatasetPage = { datasets: Dataset[]; next: string | null };
