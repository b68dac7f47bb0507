/** The JSON of datasets. */

/** One token per byte, or byte pairs (BPE) trained on the text. */
export const TOKENIZERS = ["byte", "bpe"] as const;

export type TokenizerName = (typeof TOKENIZERS)[number];

/** Vocabulary sizes of `bpe`. */
export const BPE_VOCABULARY = { least: 512, most: 16_384, default: 2048 };

/** A dataset in a run's config. `tokens` and `digest` identify its content. */
export type PinnedDataset = {
  name: string;
  /** Lower-case hexadecimal SHA-256 of the token bytes. */
  digest: string;
  tokens: number;
  tokenizer: TokenizerName;
  vocabulary: number;
};

/** A tokenizer is trained, then the text is tokenized; only then can runs use it. */
export const DATASET_STATES = ["training", "ready", "failed"] as const;

/** The longest text of a dataset. */
export const MAX_DATASET_BYTES = 100 * 1024 * 1024;

export type DatasetState = (typeof DATASET_STATES)[number];

/** `digest` and `tokens` are null until it is ready. */
export type Dataset = Omit<PinnedDataset, "digest" | "tokens"> & {
  digest: string | null;
  tokens: number | null;
  state: DatasetState;
  /** Bytes of the text. */
  bytes: number;
  /** SHA-256 of the text. */
  textDigest: string;
  /** Fraction of the work done, from 0 to 1. */
  progress: number;
  /** Why it failed. */
  error: { code: string; detail: string } | null;
};

/** How a text is tokenized. */
export type DatasetOptions = {
  tokenizer?: TokenizerName | undefined;
  /** Vocabulary of `bpe`; smaller if no further pair occurs twice in the text. */
  vocabulary?: number | undefined;
  /** Folder of a model with a BPE of this project, whose tokenizer is used. */
  from?: string | undefined;
};

/** A page of datasets, ordered by name; `next` is the next page's `cursor`, null on the last. */
export type DatasetPage = { datasets: Dataset[]; next: string | null };
