/** The number of text bytes of each token id, to report losses per byte. */
import type { PinnedDataset } from "../api/dataset.ts";
import type { ModelShape } from "../api/run-config.ts";
import { readTokenizerJson } from "../tokenizers/tokenizer-json.ts";
import type { TrainingService } from "./service.ts";

/** All 1 if tokens are bytes; otherwise from the dataset's tokenizer. */
export async function readTokenLengths(
  service: Pick<TrainingService, "tokenizer">,
  dataset: PinnedDataset,
): Promise<Uint32Array> {
  if (dataset.tokenizer === "byte")
    return new Uint32Array(dataset.vocabulary).fill(1);
  return tokenLengths(await service.tokenizer(dataset));
}

/** From a tokenizer.json. */
export function tokenLengths(json: string): Uint32Array {
  return Uint32Array.from(
    readTokenizerJson(json).tokens(),
    ({ length }) => length,
  );
}

export function tokenLengthsBytes(
  { tokenizer }: Pick<PinnedDataset, "tokenizer">,
  { vocabulary }: Pick<ModelShape, "vocabulary">,
): number {
  return tokenizer === "byte" ? 0 : vocabulary * Uint32Array.BYTES_PER_ELEMENT;
}
