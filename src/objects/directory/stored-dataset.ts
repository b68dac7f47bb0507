/** What is written down of a dataset, and where its blobs are in the bucket. */
import { AppError } from "../../api/errors.ts";
import type { Dataset, PinnedDataset } from "../../api/dataset.ts";
import { Bpe } from "../../tokenizers/bpe.ts";
import { writeTokenizerJson } from "../../tokenizers/tokenizer-json.ts";

export type StoredDataset = Dataset & {
  /** R2 key of its upload: the text. Others follow from it. */
  key: string;
  /** The vocabulary that was asked for. */
  asked: number;
  /** Its byte pairs are those of a model, not learned from its text. */
  given?: true;
};

type Keyed = Pick<StoredDataset, "key" | "tokenizer">;

/** Of its tokens: the text's own where they are its bytes. */
export function tokensKey({ key, tokenizer }: Keyed): string {
  return tokenizer === "byte" ? key : `${key}.tokens`;
}

/** Of the tokenizer.json of one that is ready, and whose tokens are no bytes. */
export function tokenizerKey({ key }: Pick<StoredDataset, "key">): string {
  return `${key}.tokenizer`;
}

/** All that a dataset has in the bucket: its text, until it is tokens. */
export function keysOf(dataset: StoredDataset): string[] {
  const { key, tokenizer, state } = dataset;
  if (tokenizer === "byte" || state !== "ready") return [key];
  return [tokensKey(dataset), tokenizerKey(dataset)];
}

/** As callers see it. */
export function toDataset({
  key: _key,
  asked: _asked,
  given: _given,
  ...dataset
}: StoredDataset): Dataset {
  return dataset;
}

/** What a run holds of it. Errors: `dataset_not_ready` */
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

/** Its tokenizer.json. Errors: `dataset_not_found`, it is no longer there */
export async function readTokenizer(
  bucket: R2Bucket,
  dataset: StoredDataset,
): Promise<string> {
  if (dataset.tokenizer === "byte") return writeTokenizerJson(new Bpe([]));
  const object = await bucket.get(tokenizerKey(dataset));
  if (object) return object.text();
  throw new AppError(
    "dataset_not_found",
    `Expected the tokenizer of "${dataset.name}", which is no longer there`,
  );
}
