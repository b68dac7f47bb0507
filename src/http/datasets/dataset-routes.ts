/** Datasets: stored, tokenized, deleted. */
import { AppError } from "../../api/errors.ts";
import { choice } from "../../api/option-kinds.ts";
import {
  BPE_VOCABULARY,
  type DatasetPage,
  MAX_DATASET_BYTES,
  type TokenizerName,
  TOKENIZERS,
} from "../../api/dataset.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import {
  type StoredDataset,
  toDataset,
  readTokenizer,
  tokenizerKey,
} from "../../objects/directory/stored-dataset.ts";
import { LEASE_MS } from "../../objects/directory/sweep-alarm.ts";
import { tokenizationStub } from "../../objects/tokenization/tokenization.ts";
import { type Bpe, BYTE_VOCABULARY } from "../../tokenizers/bpe.ts";
import { readTokenizerJson } from "../../tokenizers/tokenizer-json.ts";
import { limit, NAME_CURSOR } from "../declaration/page.ts";
import { optional, textParameter } from "../declaration/parameter.ts";
import { route } from "../declaration/route.ts";
import type { Env } from "../env.ts";
import { GONE, UPLOAD_ERRORS } from "../files/stored-bytes.ts";
import { pinModel } from "../../objects/platform/stored-model.ts";
import { FILE_NAME } from "../../api/text-rules.ts";
import { storeUpload, uploadBytes } from "../files/upload.ts";
import { datasetPageSchema, datasetSchema } from "./dataset-schemas.ts";
import { withHeartbeat } from "../files/heartbeat.ts";
import { json } from "../json.ts";

const TOKENIZER = optional(
  choice(
    TOKENIZERS,
    "One token per byte, or byte pairs (BPE) trained on this text",
    "byte",
  ),
);
const VOCABULARY = optional({
  kind: "whole",
  least: BPE_VOCABULARY.least,
  most: BPE_VOCABULARY.most,
  text: `Vocabulary of \`bpe\` (default: ${BPE_VOCABULARY.default})`,
});
const FROM = textParameter(
  "A folder of /v1/files with a model whose BPE tokenizer is used instead of training one",
  FILE_NAME.pattern,
);
/** Small enough that an example's run takes less than a second. */
const exampleText =
  "It was the best of times, it was the worst of times, it was the age of wisdom. ".repeat(
    20,
  );

export const DATASET_ROUTES = [
  route({
    id: "putDataset",
    method: "put",
    path: "/v1/datasets/{name}",
    tag: "datasets",
    access: "owner",
    summary: "Store a corpus under a name, and tokenize it",
    description:
      "Idempotent. With `bpe`, the dataset is first in state `training`; poll it until it is `ready`.",
    query: { tokenizer: TOKENIZER, vocabulary: VOCABULARY, from: FROM },
    body: { description: "The text, 1 byte to 100 MiB, with Content-Length" },
    answers: {
      200: { description: "It was already stored", json: datasetSchema },
      201: { description: "Stored", json: datasetSchema },
    },
    errors: [
      ...UPLOAD_ERRORS,
      "dataset_differs",
      "file_not_found",
      "malformed_body",
      "shape_mismatch",
      "unsupported_dtype",
      "invalid_config",
    ],
    examples: {
      text: {
        summary: "An English text",
        body: new TextEncoder().encode(exampleText),
      },
    },
    async handle(c, { name, tokenizer, vocabulary: told, from }) {
      const given =
        from === undefined
          ? undefined
          : await tokenizerIn(c.env.BUCKET, from, tokenizer, told);
      const vocabulary = given?.bpe.vocabulary ?? vocabularyOf(tokenizer, told);
      const bytes = uploadBytes(c, "corpus", MAX_DATASET_BYTES);
      if (bytes === 0) {
        throw new AppError(
          "malformed_body",
          "Expected a corpus of at least 1 byte, got none",
        );
      }
      // A new stub each time: the old one is unusable if its object restarted.
      const directory = () => directoryStub(c.env);
      const present = await directory().findDataset(name);
      if (present) {
        checkSame(present, { bytes, tokenizer, asked: vocabulary });
        await checkBytePairs(c.env.BUCKET, present, given?.json);
      }
      // The digest is known only when all is stored, so each upload has its own key.
      const key = `datasets/${name}/${crypto.randomUUID()}`;
      await directory().beginUpload(key);
      const digest = await withHeartbeat(
        LEASE_MS / 5,
        () => directory().renewUpload(key),
        async () => (await storeUpload(c, key, bytes)).digest,
      );
      if (given) await c.env.BUCKET.put(tokenizerKey({ key }), given.json);
      const isReady = tokenizer === "byte";
      const { created, dataset } = await directory().addDataset({
        name,
        digest: isReady ? digest : null,
        tokens: isReady ? bytes : null,
        tokenizer,
        vocabulary,
        state: isReady ? "ready" : "training",
        bytes,
        textDigest: digest,
        progress: isReady ? 1 : 0,
        error: null,
        key,
        asked: vocabulary,
        ...(given && { given: true }),
      });
      if (given && dataset.key !== key)
        await c.env.BUCKET.delete(tokenizerKey({ key }));
      if (!created) await checkBytePairs(c.env.BUCKET, dataset, given?.json);
      await goOn(c.env, dataset);
      return json(toDataset(dataset), created ? 201 : 200);
    },
  }),

  route({
    id: "listDatasets",
    method: "get",
    path: "/v1/datasets",
    tag: "datasets",
    access: "owner",
    summary: "List the datasets, by name",
    query: { limit: limit(1000, 100), cursor: NAME_CURSOR },
    answers: { 200: { description: "A page", json: datasetPageSchema } },
    async handle(c, { limit: most, cursor = "" }) {
      const found = await directoryStub(c.env).datasets(most + 1, cursor);
      const datasets = found.slice(0, most).map(toDataset);
      const next = found.length > most ? datasets.at(-1)!.name : null;
      return json({ datasets, next } satisfies DatasetPage);
    },
  }),

  route({
    id: "getDataset",
    method: "get",
    path: "/v1/datasets/{name}",
    tag: "datasets",
    access: "owner",
    summary: "Get a dataset",
    answers: { 200: { description: "The dataset", json: datasetSchema } },
    errors: ["dataset_not_found"],
    async handle(c, { name }) {
      const dataset = await directoryStub(c.env).dataset(name);
      await goOn(c.env, dataset);
      return json(toDataset(dataset));
    },
  }),

  route({
    id: "deleteDataset",
    method: "delete",
    path: "/v1/datasets/{name}",
    tag: "datasets",
    access: "owner",
    summary: "Delete a dataset that no unfinished run uses",
    description: "Not idempotent: repeating it is 404.",
    answers: GONE,
    errors: ["dataset_not_found", "dataset_in_use"],
    async handle(c, { name }) {
      const { key } = await directoryStub(c.env).removeDataset(name);
      // It would notice the deletion itself, a little later.
      await tokenizationStub(c.env, key).wake();
      return c.body(null, 204);
    },
  }),
];

/** For `byte`, the number of bytes. Errors: `invalid_option` for any given value */
function vocabularyOf(
  tokenizer: TokenizerName,
  told: number | undefined,
): number {
  if (tokenizer === "bpe") return told ?? BPE_VOCABULARY.default;
  if (told === undefined) return BYTE_VOCABULARY;
  throw new AppError(
    "invalid_option",
    `Expected \`vocabulary\` only with tokenizer=bpe, got ${told} with byte, which has ${BYTE_VOCABULARY}`,
  );
}

/** Refuses different content before reading the body. Errors: `dataset_differs` */
function checkSame(
  present: StoredDataset,
  sent: Pick<StoredDataset, "bytes" | "tokenizer" | "asked">,
): void {
  const described = (each: typeof sent) =>
    `${each.bytes} bytes, tokenizer ${each.tokenizer} of ${each.asked} ids`;
  const [expected, got] = [described(present), described(sent)];
  if (expected === got) return;
  throw new AppError(
    "dataset_differs",
    `Expected the content of the existing dataset "${present.name}", ${expected}; got ${got}`,
  );
}

/** Two BPE tokenizers may have equally many ids: their merges must be equal too. Errors: `dataset_differs` */
async function checkBytePairs(
  bucket: R2Bucket,
  present: StoredDataset,
  sent: string | undefined,
): Promise<void> {
  if (present.tokenizer === "byte") return;
  const has = present.given ? "a model's" : "learned from its text";
  if (sent === undefined) {
    if (!present.given) return;
  } else {
    // A trained tokenizer exists only once the dataset is ready; creating a run checks it again.
    if (!present.given && present.state !== "ready") return;
    if ((await readTokenizer(bucket, present)) === sent) return;
  }
  throw new AppError(
    "dataset_differs",
    `Expected the tokenizer of the existing dataset "${present.name}", ${has}; got ${sent === undefined ? "none, so that one would be learned" : "another, of `from`"}: use another dataset name`,
  );
}

/**
 * Errors: `invalid_option` if the model has no BPE, or with another tokenizer or a `vocabulary`; and those of
 * `pinModel`
 */
async function tokenizerIn(
  bucket: R2Bucket,
  folder: string,
  kind: TokenizerName,
  vocabulary: number | undefined,
): Promise<{ bpe: Bpe; json: string }> {
  if (kind !== "bpe" || vocabulary !== undefined) {
    throw new AppError(
      "invalid_option",
      `Expected \`from\` with tokenizer=bpe and no \`vocabulary\`, got ${kind}${vocabulary === undefined ? "" : ` of ${vocabulary}`}`,
    );
  }
  const { tokenizer } = await pinModel(bucket, folder);
  if (tokenizer !== undefined)
    return { bpe: readTokenizerJson(tokenizer), json: tokenizer };
  throw new AppError(
    "invalid_option",
    `Expected a model with a BPE tokenizer in folder "${folder}", got one without`,
  );
}

/** Each query of an unfinished dataset makes sure that its tokenization is running. */
async function goOn(
  env: Env,
  { name, key, asked, state }: StoredDataset,
): Promise<void> {
  if (state === "training")
    await tokenizationStub(env, key).begin(name, key, asked);
}
