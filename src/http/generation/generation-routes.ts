/** Text generation with models in the bucket and with runs' current parameters. */
import type { Context } from "hono";
import * as z from "zod";
import { AppError } from "../../api/errors.ts";
import { choice } from "../../api/option-kinds.ts";
import type { GenerateRequest } from "../../api/generation.ts";
import type { Folder } from "../../checkpoints/read-heads.ts";
import { openTextModel } from "../../generation/open-model.ts";
import { DEFAULT_SAMPLING } from "../../generation/sampler.ts";
import { Writer } from "../../generation/writer.ts";
import { WEIGHT_FORMATS, type WeightFormat } from "../../kernels/decode.ts";
import {
  isolateMemory,
  NOTHING,
  type Reservation,
} from "../../memory/ledger.ts";
import { cacheBytes } from "../../model/key-value-cache.ts";
import type { Decoder } from "../../model/decoder.ts";
import {
  hasStored,
  openStored,
  openTextFolder,
} from "../../objects/platform/stored-model.ts";
import { FILE_NAME } from "../../api/text-rules.ts";
import { ruled } from "../../training/run-request.ts";
import { openCheckpoint } from "../../objects/run/checkpoint-stream.ts";
import { modelFile } from "../../training/checkpoint-file.ts";
import { optional } from "../declaration/parameter.ts";
import { route } from "../declaration/route.ts";
import type { AppEnv, Env } from "../env.ts";
import { type InUse, useModel } from "./loaded-models.ts";
import { TEXT_TYPES, type TextForm, textStream } from "./text-stream.ts";
import { requestSchema } from "../declaration/schema.ts";

/** Limit of the key-value cache: 1,024 tokens of a model with 32 layers and 128 key-value channels, 455 of GPT-2. */
const MAX_CACHE_BYTES = 32 * 2 ** 20;
const MAX_TOKENS = 8192;

const { temperature, topK, topP, repetition, seed } = DEFAULT_SAMPLING;

const generateSchema = requestSchema("GenerateRequest", () =>
  z.strictObject({
    prompt: z.string().min(1).describe("The text to continue"),
    maxTokens: z.int().min(1).max(MAX_TOKENS).default(200),
    weights: z
      .enum(WEIGHT_FORMATS)
      .default("f32")
      .describe("Compute with the weights as stored, or quantized to MXFP4"),
    temperature: z.number().min(0).max(100).default(temperature),
    topK: z.int().min(1).default(topK),
    topP: z.number().gt(0).max(1).default(topP),
    repetition: z.number().min(1).max(10).default(repetition),
    stop: z.array(z.string().min(1).max(100)).max(16).default([]),
    seed: z.int().min(0).default(seed),
  }),
);

const fromModelSchema = requestSchema("GenerateFromModelRequest", () =>
  generateSchema().extend({
    model: ruled(FILE_NAME).describe(
      "Name of a folder in /v1/files, or of a checkpoint or GGUF there",
    ),
  }),
);

const FORMAT = optional(
  choice(
    ["text", "sse"],
    "Plain text, or server-sent events, each with a piece of the text, the last with the reason for ending (default: sse for `Accept: text/event-stream`, else text)",
  ),
);

const ANSWERS = {
  200: {
    description: "The text after the prompt, streamed as it is generated",
    type: Object.values(TEXT_TYPES),
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
] as const;

export const GENERATION_ROUTES = [
  route({
    id: "generate",
    method: "post",
    path: "/v1/generate",
    tag: "generation",
    access: "owner",
    summary: "Generate text with a stored model",
    description:
      "The model is a folder with config.json, weights and tokenizer.json as in transformers, a GGUF of such a model, or a run's checkpoint. The same request gives the same text on every host. The model sees the whole text while it fits its context; when the context is full, only the last half of the text is kept, until it is full again.",
    query: { format: FORMAT },
    body: {
      description: "The model, the prompt, and how to sample",
      json: fromModelSchema,
    },
    answers: ANSWERS,
    errors: ERRORS,
    examples: {
      likeliest: {
        summary: "Greedy decoding",
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
      return answer(c, await openInBucket(c.env, model), request, format);
    },
  }),

  route({
    id: "generateFromRun",
    method: "post",
    path: "/v1/runs/{run}/generate",
    tag: "generation",
    access: "owner",
    summary: "Generate text with a run's current parameters",
    description:
      "Possible in any state of the run. The prompt is tokenized with the run's tokenizer.",
    query: { format: FORMAT },
    body: {
      description: "The prompt, and how to sample",
      json: generateSchema,
    },
    answers: ANSWERS,
    errors: [...ERRORS],
    examples: {
      sample: {
        summary: "A few tokens, with weights in MXFP4",
        body: { prompt: "The ", maxTokens: 20, weights: "mxfp4", seed: 1 },
      },
      events: {
        summary: "As server-sent events",
        query: { format: "sse" },
        body: { prompt: "The ", maxTokens: 20 },
      },
    },
    async handle(c, { run, body, format }) {
      const { results, folder } = await openCheckpoint(c.env, run, {
        isFull: false,
      });
      const key = `run ${run}/${results}`;
      return answer(c, { key, folder, head: NOTHING }, body, format);
    },
  }),
];

/** `head`: memory of a GGUF's long header, until the tokenizer is made from it. */
type Found = { key: string; folder: Folder; head: Reservation };

/** Errors: `file_not_found`, and those of `modelFile` */
async function openInBucket({ BUCKET }: Env, model: string): Promise<Found> {
  if (!(await hasStored(BUCKET, model))) {
    const { digest, folder } = await openTextFolder(BUCKET, model);
    return { key: `folder ${digest}`, folder, head: NOTHING };
  }
  const [, around = "", name = ""] = /^(.*\/)?([^/]*)$/.exec(model)!;
  const digests: string[] = [];
  const open = async (beside: string) => {
    const { digest, file } = await openStored(BUCKET, around + beside);
    digests.push(digest);
    return file;
  };
  let head = NOTHING;
  try {
    const folder = await modelFile(name, open, {
      async beforeLongHead(most) {
        head = await isolateMemory.reserve(most);
      },
    });
    return { key: `file ${digests.join()}`, folder, head };
  } catch (error) {
    head.release();
    throw error;
  }
}

/** Releases the header's memory as soon as the tokenizer exists, before the weights reserve theirs. */
async function useFound(
  { key, folder, head }: Found,
  weights: WeightFormat,
): Promise<InUse> {
  try {
    const opened = await openTextModel(folder);
    const tokenizerBytes = async (): Promise<number> => {
      const bytes = await opened.tokenizerBytes();
      head.release();
      return bytes;
    };
    const own = { ...opened, tokenizerBytes };
    return await useModel(`${key} ${weights}`, own, weights);
  } finally {
    head.release();
  }
}

async function answer(
  c: Context<AppEnv>,
  found: Found,
  { prompt, weights = "f32", maxTokens = 1, ...options }: GenerateRequest,
  format: TextForm | undefined,
): Promise<Response> {
  const wantsEvents = c.req.header("Accept")?.includes(TEXT_TYPES.sse) ?? false;
  const form = format ?? (wantsEvents ? "sse" : "text");
  const used = await useFound(found, weights);
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

/** A writer with a key-value cache for prompt and text. Errors: `invalid_option`; the model is then released */
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

/**
 * Positions of the cache: the length of the text, at most the model's context. Errors: `invalid_option` if they do not
 * fit
 */
function positionsOf(decoder: Decoder, tokens: number): number {
  const positions = Math.min(tokens, decoder.context);
  const most = Math.floor(MAX_CACHE_BYTES / cacheBytes(decoder, 1));
  if (positions <= most) return positions;
  throw new AppError(
    "invalid_option",
    `Expected \`prompt\` and \`maxTokens\` of at most ${most} tokens together, whose keys and values fit an isolate, got ${tokens}`,
  );
}
