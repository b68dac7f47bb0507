/** The JSON of answers about datasets. */
import * as z from "zod";
import { once } from "../../api/once.ts";
import {
  DATASET_STATES,
  type Dataset,
  type DatasetPage,
  TOKENIZERS,
} from "../../api/dataset.ts";
import { digest, next, whole } from "../declaration/json-values.ts";
import {
  answerSchema,
  type OutputOf,
  type Same,
} from "../declaration/schema.ts";

/** A dataset in a run's config. */
export const pinnedDatasetSchema = once(() =>
  z.strictObject({
    name: z.string(),
    digest: digest().describe("SHA-256 of the tokens' bytes"),
    tokens: whole(),
    tokenizer: z.enum(TOKENIZERS),
    vocabulary: whole(),
  }),
);

export const datasetSchema = answerSchema("Dataset", () =>
  z.strictObject({
    ...pinnedDatasetSchema().shape,
    digest: pinnedDatasetSchema().shape.digest.nullable(),
    tokens: whole().nullable(),
    state: z
      .enum(DATASET_STATES)
      .describe("Runs can only use a `ready` dataset"),
    bytes: whole().describe("Size of the text"),
    textDigest: digest().describe("SHA-256 of the text"),
    progress: z
      .number()
      .min(0)
      .max(1)
      .describe(
        "Progress of training the tokenizer and tokenizing, from 0 to 1",
      ),
    error: z
      .strictObject({ code: z.string(), detail: z.string() })
      .nullable()
      .describe("Why it failed"),
  }),
);

export const datasetPageSchema = answerSchema("DatasetPage", () =>
  z.strictObject({
    datasets: z.array(datasetSchema()),
    next: next(),
  }),
);

true satisfies Same<OutputOf<typeof datasetSchema>, Dataset>;
true satisfies Same<OutputOf<typeof datasetPageSchema>, DatasetPage>;
