/** Text from models: of the bucket, and of runs as they are now. */
import type { Context } from "hono";
import * as z from "zod";
import { AppError } from "../../api/errors.ts";
import { choice } from "../../api/option-kinds.ts";
import type { GenerateRequest } from "../../api/generation.ts";
import type { Folder } from "../../checkpoints/read-heads.ts";
import { openTextModel } from "../../generation/open-model.ts";
import { DEFAULT_SAMPLING } from "../../generation/sampler.ts";
import { Writer } from "../../generation/writer.ts";
import { WEIGHT_FORMATS } from "../../kernels/decode.ts";
import { cacheBytes } from "../../model/key-value-cache.ts";
import type { Decoder } from "../../model/decoder.ts";
import {
  openStored,
  openTextFolder,
} from "../../objects/platform/stored-model.ts";
import { FILE_NAME } from "../../api/text-rules.ts";
import { ruled } from "../../training/run-request.ts";
import { openCheckpoint } from "../../objects/run/checkpoint-stream.ts";
import { checkpointFile } from "../../training/checkpoint-file.ts";
import { optional } from "../declaration/parameter.ts";
import { REQUEST_SCHEMAS, route } from "../declaration/route.ts";
import type { AppEnv, Env } from "../env.ts";
import { type InUse, useModel } from "./loaded-models.ts";
import { TEXT_TYPES, type TextForm, textStream } from "./text-stream.ts";

/** Of keys and values: 1,024 tokens of a model of 32 layers and 128 channels, 455 of GPT-2. */
const MAX_CACHE_BYTES = 32 * 2 ** 20;
const MAX_TOKENS = 8192;

const { temperature, topK, topP, repetition, seed } = DEFAULT_SAMPLING;

const generateSchema = z
  .strictObject({
    prompt: z.string().min(1).describe("What the text goes on from"),
    maxTokens: z.int().min(1).max(MAX_TOKENS).default(200),
    weights: z
      .enum(WEIGHT_FORMATS)
      .default("f32")
      .describe("As they are, or packed in MXFP4 and multiplied so"),
    temperature: z.number().min(0).max(100).default(temperature),
    topK: z.int().min(1).default(topK),
    topP: z.number().gt(0).max(1).default(topP),
    repetition: z.number().min(1).max(10).default(repetition),
    stop: z.array(z.string().min(1).max(100)).max(16).default([]),
    seed: z.int().min(0).default(seed),
  })
  .register(REQUEST_SCHEMAS, { id: "GenerateRequest" });

const fromModelSchema = generateSchema
  .extend({
    model: ruled(FILE_NAME).describe(
      "A folder of /v1/files, or a file there that is a checkpoint",
    ),
  })
  .register(REQUEST_SCHEMAS, { id: "GenerateFromModelRequest" });

const FORMAT = optional(
  choice(
    ["text", "sse"],
    "The text as it is, or server-sent events whose data is a piece of it, and at last how it ended; sse for `Accept: text/event-stream`, else text unless told",
  ),
);

const ANSWERS = {
  200: {
    description: "What follows the prompt, as it is written",
    type: TEXT_TYPES.text,
  },
};
const ERRORS = [
  "malformed_json",
  "body_too_large",
  "invalid_config",
  "invalid_option",
  "invalid_number",
  "malformed_body",
  "shape_mismatch",
  "unsupported_dtype",
  "file_not_found",
  "file_changed",
  "unavailable",
] as const;

export const GENERATION_ROUTES = [
  route({
    id: "generate",
    method: "post",
    path: "/v1/generate",
    tag: "generation",
    access: "owner",
    summary: "Text from a model in the bucket",
    description:
      "A folder with config.json, weights and tokenizer.json as transformers has them, or a run's checkpoint. The same request gives the same text on every host. While a text fits the model's context all of it is seen, then its last half until that fills it again.",
    query: { format: FORMAT },
    body: {
      description: "The model, the prompt, and how to sample",
      json: fromModelSchema,
    },
    answers: ANSWERS,
    errors: ERRORS,
    examples: {
      likeliest: {
        summary: "The likeliest tokens",
        body: {
          model: "example-model",
          prompt: "The ",
          maxTokens: 20,
          temperature: 0,
        },
      },
    },
    async handle(c, { body, format }) {
      const { model, ...request } = body;
      const { key, folder } = await openInBucket(c.env, model);
      return answer(c, key, folder, request, format);
    },
  }),

  route({
    id: "generateFromRun",
    method: "post",
    path: "/v1/runs/{run}/generate",
    tag: "generation",
    access: "owner",
    summary: "Text from a run's parameters as they are now",
    description: "In any state of the run; its tokenizer cuts the prompt.",
    query: { format: FORMAT },
    body: {
      description: "The prompt, and how to sample",
      json: generateSchema,
    },
    answers: ANSWERS,
    errors: [...ERRORS],
    examples: {
      sample: {
        summary: "A few tokens, packed in MXFP4",
        body: { prompt: "The ", maxTokens: 20, weights: "mxfp4", seed: 1 },
      },
    },
    async handle(c, { run, body, format }) {
      const { results, folder } = await openCheckpoint(c.env, run, {
        isFull: false,
      });
      return answer(c, `run ${run}/${results}`, folder, body, format);
    },
  }),
];

/** Errors: `file_not_found`, `malformed_body` */
async function openInBucket(
  { BUCKET }: Env,
  model: string,
): Promise<{ key: string; folder: Folder }> {
  const stored = await openStored(BUCKET, model);
  if (stored)
    return {
      key: `file ${stored.digest}`,
      folder: await checkpointFile(stored.file),
    };
  const { digest, folder } = await openTextFolder(BUCKET, model);
  return { key: `folder ${digest}`, folder };
}

async function answer(
  c: Context<AppEnv>,
  key: string,
  folder: Folder,
  { prompt, weights = "f32", maxTokens = 1, ...options }: GenerateRequest,
  format: TextForm | undefined,
): Promise<Response> {
  const wantsEvents = c.req.header("Accept")?.includes(TEXT_TYPES.sse) ?? false;
  const form = format ?? (wantsEvents ? "sse" : "text");
  const opened = await openTextModel(folder);
  const used = await useModel(`${key} ${weights}`, opened, weights);
  const writer = writerOf(used, prompt, maxTokens);
  const turn = async (): Promise<void> => {
    used.touch();
    await new Promise((resolve) => setTimeout(resolve, 0));
  };
  const writing = writer.write(prompt, { ...options, maxTokens }, turn);
  const stream = await textStream(c.executionCtx, writing, form, () => {
    writer.free();
    used.release();
  });
  return c.body(stream, 200, {
    "Content-Type": TEXT_TYPES[form],
    "Cache-Control": "no-store",
  });
}

/** With a cache for prompt and text. Errors: `invalid_option`; then nobody uses the model any more */
function writerOf(used: InUse, prompt: string, maxTokens: number): Writer {
  try {
    const { model } = used;
    const tokens = model.tokenizer.encode(prompt).length + maxTokens;
    return new Writer(model, positionsOf(model.decoder, tokens));
  } catch (error) {
    used.release();
    throw error;
  }
}

/** Of the cache: as many as the text has, or the model sees. Errors: `invalid_option`, more than fit */
function positionsOf(decoder: Decoder, tokens: number): number {
  const positions = Math.min(tokens, decoder.context);
  const most = Math.floor(MAX_CACHE_BYTES / cacheBytes(decoder, 1));
  if (positions <= most) return positions;
  throw new AppError(
    "invalid_option",
    `Expected \`prompt\` and \`maxTokens\` of at most ${most} tokens together, whose keys and values fit an isolate, got ${tokens}`,
  );
}
