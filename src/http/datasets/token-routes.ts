/** A dataset's tokens and tokenizer, which trainers read. */
import type { Context } from "hono";
import { AppError } from "../../api/errors.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import {
  pinned,
  readTokenizer,
  tokensKey,
} from "../../objects/directory/stored-dataset.ts";
import { runStub } from "../../objects/run/run.ts";
import { bytesPerToken } from "../../training/token-cache.ts";
import { optional } from "../declaration/parameter.ts";
import { route } from "../declaration/route.ts";
import type { AppEnv } from "../env.ts";
import type { ByteRange } from "../files/byte-range.ts";
import {
  answerStored,
  READ_ERRORS,
  READ_HEADERS,
  storedAnswers,
} from "../files/stored-bytes.ts";
import { MAX_DATASET_BYTES } from "../../api/dataset.ts";

const START = optional({
  kind: "whole",
  least: 0,
  most: MAX_DATASET_BYTES,
  default: 0,
  text: "Index of the first token",
});
const LENGTH = optional({
  kind: "whole",
  least: 1,
  most: MAX_DATASET_BYTES,
  text: "Number of tokens (default: all that follow)",
});

export const TOKEN_ROUTES = [
  route({
    id: "getTokens",
    method: "get",
    path: "/v1/datasets/{name}/tokens",
    tag: "datasets",
    access: "trainer",
    summary: "Read token ids of a dataset",
    description:
      "One byte per token with tokenizer `byte`, two (little-endian) with `bpe`. `start` and `length` count tokens, `Range` counts bytes.",
    query: { start: START, length: LENGTH },
    headers: READ_HEADERS,
    answers: storedAnswers("The digest"),
    errors: [
      "run_not_found",
      "dataset_not_found",
      "dataset_not_ready",
      ...READ_ERRORS,
    ],
    examples: {
      window: {
        summary: "A window of 16 tokens",
        query: { start: 16, length: 16 },
      },
      range: {
        summary: "A range of bytes",
        headers: { Range: "bytes=16-31" },
      },
      all: { summary: "Everything" },
    },
    async handle(c, { name, start, length, ...asked }) {
      await checkReader(c, name);
      const dataset = await directoryStub(c.env).dataset(name);
      const { tokens, digest } = pinned(dataset);
      const width = bytesPerToken(dataset);
      const stored = {
        key: tokensKey(dataset),
        bytes: tokens * width,
        etag: `"${digest}"`,
        part: partOf(tokens, width, start, length),
      };
      const response = await answerStored(c, stored, asked);
      if (response) return response;
      throw new AppError(
        "dataset_not_found",
        `Expected the tokens of "${name}", which no longer exist`,
      );
    },
  }),

  route({
    id: "getTokenizer",
    method: "get",
    path: "/v1/datasets/{name}/tokenizer",
    tag: "datasets",
    access: "trainer",
    summary: "Get a dataset's tokenizer, as Hugging Face's tokenizer.json",
    answers: {
      200: {
        description:
          "A tokenizer.json with which Hugging Face's libraries give the same ids",
        type: "application/json",
        headers: {
          ETag: "The digest of the tokens",
          "Content-Disposition": "The name that the libraries look for",
        },
      },
    },
    errors: ["run_not_found", "dataset_not_found", "dataset_not_ready"],
    async handle(c, { name }) {
      await checkReader(c, name);
      const dataset = await directoryStub(c.env).dataset(name);
      const { digest } = pinned(dataset);
      return c.body(await readTokenizer(c.env.BUCKET, dataset), 200, {
        "Content-Type": "application/json",
        "Content-Disposition": 'attachment; filename="tokenizer.json"',
        ETag: `"${digest}"`,
      });
    },
  }),
];

/** The bytes of tokens `[start, start + length)`. Errors: `range_not_satisfiable` beyond the end */
function partOf(
  tokens: number,
  width: number,
  start: number,
  length: number | undefined,
): ByteRange | undefined {
  if (start === 0 && length === undefined) return undefined;
  const end = start + (length ?? tokens - start);
  if (start < end && end <= tokens)
    return { offset: start * width, length: (end - start) * width };
  throw new AppError(
    "range_not_satisfiable",
    `Expected a window within ${tokens} tokens, got [${start}, ${end})`,
  );
}

/** A join token may read its own run's dataset only. Errors: `forbidden`, those of `Admission.admit` */
async function checkReader(c: Context<AppEnv>, name: string): Promise<void> {
  const run = c.get("tokenRun");
  if (run === undefined) return;
  const own = await runStub(c.env, run).datasetName(c.get("caller"));
  if (name === own) return;
  throw new AppError(
    "forbidden",
    `Expected the dataset of run "${run}", the only one that its join token may read, got "${name}"`,
  );
}
