/** The JSON that answers on datasets bear. */
import * as z from "zod";
import {
  DATASET_STATES,
  type Dataset,
  type DatasetPage,
  TOKENIZERS,
} from "../../api/dataset.ts";
import { digest, next, whole } from "../declaration/json-values.ts";
import { ANSWER_SCHEMAS, type Same } from "../declaration/route.ts";

/** What a run holds of its dataset. */
export const pinnedDatasetSchema = z.strictObject({
  name: z.string(),
  digest: digest.describe("SHA-256 of the tokens' bytes"),
  tokens: whole,
  tokenizer: z.enum(TOKENIZERS),
  vocabulary: whole,
});

export const datasetSchema = z
  .strictObject({
    ...pinnedDatasetSchema.shape,
    digest: pinnedDatasetSchema.shape.digest.nullable(),
    tokens: whole.nullable(),
    state: z.enum(DATASET_STATES).describe("Runs can use one that is ready"),
    bytes: whole.describe("Of the text"),
    textDigest: digest.describe("SHA-256 of the text"),
    progress: z.number().min(0).max(1).describe("The share of the work done"),
    error: z
      .strictObject({ code: z.string(), detail: z.string() })
      .nullable()
      .describe("Why it has failed"),
  })
  .register(ANSWER_SCHEMAS, { id: "Dataset" });

export const datasetPageSchema = z
  .strictObject({
    datasets: z.array(datasetSchema),
    next,
  })
  .register(ANSWER_SCHEMAS, { id: "DatasetPage" });

true satisfies Same<z.output<typeof datasetSchema>, Dataset>;
true satisfies Same<z.output<typeof datasetPageSchema>, DatasetPage>;
