/** A dataset as stored, and the keys of its blobs in the bucket. */
import { AppError } from "../../api/errors.ts";
import type { Dataset, PinnedDataset } from "../../api/dataset.ts";
import { Bpe } from "../../tokenizers/bpe.ts";
import { writeTokenizerJson } from "../../tokenizers/tokenizer-json.ts";

export type StoredDataset = Dataset & {
  /** R2 key of the uploaded text. The other keys are derived from it. */
  key: string;
  /** The vocabulary size in the request. */
  asked: number;
  /** The tokenizer is that of a model, not trained on this text. */
  given?: true;
};

type Keyed = Pick<StoredDataset, "key" | "tokenizer">;

/** Key of the tokens; if tokens are bytes, the text itself. */
export function tokensKey({ key, tokenizer }: Keyed): string {
  return tokenizer === "byte" ? key : `${key}.tokens`;
}

/** Key of the tokenizer.json; only of a ready dataset whose tokens are not bytes. */
export function tokenizerKey({ key }: Pick<StoredDataset, "key">): string {
  return `${key}.tokenizer`;
}

/** All keys of a dataset: its text until it is ready, then its tokens and tokenizer. */
export function keysOf(dataset: StoredDataset): string[] {
  const { key, tokenizer, state } = dataset;
  if (tokenizer === "byte" || state !== "ready") return [key];
  return [tokensKey(dataset), tokenizerKey(dataset)];
}

/** A dataset as returned to callers. */
export function toDataset({
  key: _key,
  asked: _asked,
  given: _given,
  ...dataset
}: StoredDataset): Dataset {
  return dataset;
}

/** What a run stores about its dataset. Errors: `dataset_not_ready` */
export function pinned(dataset: StoredDataset): PinnedDataset {
  const { name, digest, tokens, tokenizer, vocabulary } = dataset;
  if (digest === null || tokens === null) {
    const { state, progress, error } = dataset;
    const more = error
      ? `: ${error.detail}`
      : `, ${Math.floor(100 * progress)} % done`;
    throw new AppError(
      "dataset_not_ready",
      `Expected a dataset that is ready, got "${name}", which is ${state}${more}`,
    );
  }
  return { name, digest, tokens, tokenizer, vocabulary };
}

/** The dataset's tokenizer.json. Errors: `dataset_not_found` if it was removed meanwhile */
export async function readTokenizer(
  bucket: R2Bucket,
  dataset: StoredDataset,
): Promise<string> {
  if (dataset.tokenizer === "byte") return writeTokenizerJson(new Bpe([]));
  const object = await bucket.get(tokenizerKey(dataset));
  if (object) return object.text();
  throw new AppError(
    "dataset_not_found",
    `Expected the tokenizer of dataset "${dataset.name}", got none: the dataset was removed`,
  );
}
