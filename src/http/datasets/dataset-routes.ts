/** Corpora. */
import { AppError } from "../../api/errors.ts";
import type { Dataset, DatasetPage } from "../../api/types.ts";
import {
  directoryStub,
  type StoredDataset,
} from "../../objects/directory/directory.ts";
import { LEASE_MS } from "../../objects/directory/sweep-alarm.ts";
import { limit, NAME_CURSOR } from "../declaration/page.ts";
import { route } from "../declaration/route.ts";
import {
  answerStored,
  GONE,
  READ_ERRORS,
  READ_HEADERS,
  storedAnswers,
  UPLOAD_ERRORS,
} from "../files/stored-bytes.ts";
import { storeUpload, uploadBytes } from "../files/upload.ts";
import { datasetPageSchema, datasetSchema } from "../runs/run-schemas.ts";
import { withHeartbeat } from "../files/heartbeat.ts";
import { json } from "../json.ts";

/** One byte, one token. */
const BYTE_VOCABULARY = 256;
const MAX_DATASET_BYTES = 100 * 1024 * 1024;

/** Small enough that an example's run is over in a second. */
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
    summary: "Store a corpus under a name: its bytes are its tokens",
    description: "Repeating it changes nothing.",
    body: { description: "The text, 1 byte to 100 MiB, with Content-Length" },
    answers: {
      200: { description: "It was there before", json: datasetSchema },
      201: { description: "Stored", json: datasetSchema },
    },
    errors: [...UPLOAD_ERRORS, "dataset_differs", "unavailable"],
    examples: {
      text: {
        summary: "A text in English",
        body: new TextEncoder().encode(exampleText),
      },
    },
    async handle(c, { name }) {
      const bytes = uploadBytes(c, "corpus", MAX_DATASET_BYTES);
      if (bytes === 0) {
        throw new AppError(
          "malformed_body",
          "Expected a corpus of at least 1 byte, got none",
        );
      }
      // A new stub each time: one whose object restarted meanwhile is of no more use.
      const directory = () => directoryStub(c.env);
      const present = await directory().findDataset(name);
      if (present && present.tokens !== bytes) {
        throw new AppError(
          "dataset_differs",
          `Expected the ${present.tokens} bytes that "${name}" already has, got ${bytes}`,
        );
      }
      // The digest is known when all is stored, so each upload has a key of its own until then.
      const key = `datasets/${name}/${crypto.randomUUID()}`;
      await directory().beginUpload(key);
      const digest = await withHeartbeat(
        LEASE_MS / 5,
        () => directory().renewUpload(key),
        async () => (await storeUpload(c, key, bytes)).digest,
      );
      const { created, dataset } = await directory().addDataset({
        name,
        digest,
        tokens: bytes,
        tokenizer: "byte",
        vocabulary: BYTE_VOCABULARY,
        key,
      });
      return json(toDataset(dataset), created ? 201 : 200);
    },
  }),

  route({
    id: "listDatasets",
    method: "get",
    path: "/v1/datasets",
    tag: "datasets",
    access: "owner",
    summary: "The corpora that exist, by name",
    query: { limit: limit(1000, 100), cursor: NAME_CURSOR },
    answers: { 200: { description: "A page", json: datasetPageSchema } },
    errors: ["invalid_option"],
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
    summary: "What a corpus is",
    answers: { 200: { description: "The dataset", json: datasetSchema } },
    errors: ["dataset_not_found", "invalid_name"],
    handle: async (c, { name }) =>
      json(toDataset(await directoryStub(c.env).dataset(name))),
  }),

  route({
    id: "getTokens",
    method: "get",
    path: "/v1/datasets/{name}/tokens",
    tag: "datasets",
    access: "trainer",
    summary: "Token ids of a corpus, one byte each",
    headers: READ_HEADERS,
    answers: storedAnswers("The digest"),
    errors: ["dataset_not_found", ...READ_ERRORS],
    examples: {
      window: {
        summary: "A window of 16 tokens",
        headers: { Range: "bytes=16-31" },
      },
      all: { summary: "Everything" },
    },
    async handle(c, { name, ...asked }) {
      const { key, tokens, digest } = await directoryStub(c.env).dataset(name);
      const stored = { key, bytes: tokens, etag: `"${digest}"` };
      const response = await answerStored(c, stored, asked);
      if (response) return response;
      throw new AppError(
        "dataset_not_found",
        `Expected the tokens of "${name}", which are no longer there`,
      );
    },
  }),

  route({
    id: "deleteDataset",
    method: "delete",
    path: "/v1/datasets/{name}",
    tag: "datasets",
    access: "owner",
    summary: "Remove a corpus that no unfinished run uses",
    description: "Not safe to repeat: the second time it is not there.",
    answers: GONE,
    errors: ["dataset_not_found", "dataset_in_use", "invalid_name"],
    async handle(c, { name }) {
      await directoryStub(c.env).removeDataset(name);
      return c.body(null, 204);
    },
  }),
];

/** Without the storage's key. */
function toDataset({ key: _key, ...dataset }: StoredDataset): Dataset {
  return dataset;
}
