/** The JSON that answers on runs bear, as schemas that are the types of api/ to the compiler. */
import * as z from "zod";
import { OPTIMIZER_NAMES, SCHEDULES } from "../../api/optimizer.ts";
import { DIGEST } from "../../api/text-rules.ts";
import { ruled } from "../../training/run-request.ts";
import { RECIPE_NAMES } from "../../api/recipe.ts";
import {
  DATASET_STATES,
  type Dataset,
  type DatasetPage,
  TOKENIZERS,
} from "../../api/dataset.ts";
import type { CompletionResponse, LeaseResponse } from "../../api/lease.ts";
import { type RunConfig, WIRE_DTYPES } from "../../api/run-config.ts";
import type { StepMetrics, StepRecord } from "../../api/run-metrics.ts";
import {
  AUTHOR_STATES,
  HOST_KINDS,
  type JoinToken,
  type RunStatus,
  type RunSummary,
  type TrainersResponse,
} from "../../api/run-status.ts";
import { ANSWER_SCHEMAS, type Same } from "../declaration/route.ts";

/** Whole numbers that JSON bears exactly. */
const whole = z.int().min(0);
const time = whole.describe("Milliseconds since the epoch");
const milliseconds = z.number().min(0);
const loss = z.number().nullable().describe("Nats per token");
const natsPerByte = z
  .number()
  .nullable()
  .describe("The same in nats per byte of the text");

const state = z.enum([
  "running",
  "paused",
  "finished",
  "cancelled",
  "diverged",
]);

const digest = ruled(DIGEST);

/** What a run holds of its dataset. */
const pinnedDatasetSchema = z.strictObject({
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
    next: z.string().nullable().describe("The cursor of the page behind this"),
  })
  .register(ANSWER_SCHEMAS, { id: "DatasetPage" });

const configSchema = z
  .strictObject({
    dataset: pinnedDatasetSchema,
    model: z.strictObject({
      layers: whole,
      width: whole,
      heads: whole,
      context: whole,
      vocabulary: whole,
    }),
    from: z
      .strictObject({
        folder: z.string(),
        digest,
        resumed: z
          .strictObject({
            step: whole,
            tokens: whole,
            origin: digest.nullable(),
            results: digest.optional(),
          })
          .optional()
          .describe("Where its run was, whose optimizer it goes on with too"),
      })
      .optional()
      .describe("Whose parameters it goes on from"),
    recipe: z.enum(RECIPE_NAMES),
    gradientDtype: z.enum(WIRE_DTYPES),
    seed: whole,
    steps: whole,
    microbatches: whole,
    sequences: whole,
    optimizer: z.strictObject({
      name: z.enum(OPTIMIZER_NAMES),
      learningRate: z.number(),
      matrixLearningRate: z.number(),
      schedule: z.enum(SCHEDULES),
      finalLearningRateRatio: z.number(),
      warmupSteps: whole,
      cooldownSteps: whole,
      momentum: z.number(),
      beta1: z.number(),
      beta2: z.number(),
      epsilon: z.number(),
      weightDecay: z.number(),
      clip: z.number(),
    }),
    evaluation: z.strictObject({ interval: whole, microbatches: whole }),
    shards: whole,
    snapshotSteps: whole,
    subtree: whole.optional(),
    verify: z.number().optional(),
    redundancy: whole.optional(),
  })
  .register(ANSWER_SCHEMAS, { id: "RunConfig" });

export const runStatusSchema = z
  .strictObject({
    run: z.string(),
    state,
    step: whole.describe("Updates that the parameters have seen"),
    config: configSchema,
    fingerprint: z
      .string()
      .nullable()
      .describe("What its trainers compute like"),
    parameters: whole,
    shards: z.array(
      z.strictObject({ index: whole, start: whole, length: whole }),
    ),
    trainers: z.array(
      z.strictObject({
        name: z.string(),
        author: z
          .string()
          .describe("A join token's id, or `owner.` and a trainer's name"),
        host: z
          .enum(HOST_KINDS)
          .nullable()
          .describe("What it computes in, as it tells"),
        lastSeenMs: time,
        completions: whole,
      }),
    ),
    trainLoss: loss,
    trainNatsPerByte: natsPerByte,
    valLoss: loss,
    valNatsPerByte: natsPerByte,
    createdMs: time,
  })
  .register(ANSWER_SCHEMAS, { id: "RunStatus" });

const runSummary = z.strictObject({
  run: z.string(),
  dataset: z.string(),
  ended: z.boolean(),
  createdMs: time,
});

const lease = z.strictObject({
  kind: z.enum(["train", "eval"]),
  step: whole,
  index: whole,
  deadlineMs: time,
  key: z.string().describe("Sent as Lease-Key with what comes of it"),
  rewinds: whole
    .optional()
    .describe("How often the run has gone back to an earlier step, if ever"),
});

export const leaseResponseSchema = z
  .strictObject({ state, lease: lease.nullable() })
  .register(ANSWER_SCHEMAS, { id: "LeaseResponse" });

const stepMetricsSchema = z
  .strictObject({
    step: whole,
    trainLoss: loss,
    gradNorm: z.number().nullable().describe("Global L2 norm before clipping"),
    learningRate: z.number(),
    tokens: whole,
    valLoss: loss,
    committedMs: time,
    trainNatsPerByte: natsPerByte,
    valNatsPerByte: natsPerByte,
    results: digest
      .nullable()
      .describe("SHA-256 of what all steps so far came to, whoever computed"),
    chain: digest
      .nullable()
      .describe("The same with each gradient's digests, and whose they are"),
    phases: z
      .strictObject({
        leaseMs: milliseconds,
        pullMs: milliseconds,
        computeMs: milliseconds,
        pushMs: milliseconds,
        pulledBytes: whole.describe("Of parameters' frames"),
        pushedBytes: whole.describe("Of gradients' frames"),
        commitMs: milliseconds
          .nullable()
          .describe(
            "From the last completion until every shard had the update, in which all wait",
          ),
      })
      .nullable()
      .describe("Where time went, summed over microbatches, as trainers tell"),
  })
  .register(ANSWER_SCHEMAS, { id: "StepMetrics" });

export const stepRecordSchema = z
  .strictObject({
    step: whole,
    microbatches: z.array(
      z.strictObject({
        index: whole,
        lossSum: z.number().nullable(),
        tokens: whole,
        bytes: whole,
        digests: z
          .array(digest)
          .describe("Of the frame that each shard was pushed"),
        authors: z.array(z.string()).describe("All who told so"),
      }),
    ),
    commit: z
      .strictObject({
        gradNorm: z.number(),
        clipCoefficient: z.number(),
        learningRates: z.strictObject({
          matrix: z.number(),
          embedding: z.number(),
          vector: z.number(),
        }),
        results: digest.nullable(),
        chain: digest.nullable(),
        before: z.strictObject({ results: digest, chain: digest }),
      })
      .nullable(),
  })
  .register(ANSWER_SCHEMAS, { id: "StepRecord" });

export const statesSchema = z
  .strictObject({ steps: z.array(whole) })
  .register(ANSWER_SCHEMAS, { id: "States" });

export const trainersResponseSchema = z
  .union([
    z.strictObject({ trainers: z.array(z.string()) }),
    z.strictObject({ token: z.string(), id: z.string(), expiresMs: time }),
  ])
  .register(ANSWER_SCHEMAS, { id: "TrainersResponse" });

export const joinTokenSchema = z
  .strictObject({
    id: z.string(),
    issuedMs: time.nullable(),
    expiresMs: time.nullable(),
    state: z.enum(AUTHOR_STATES),
  })
  .register(ANSWER_SCHEMAS, { id: "JoinToken" });

export const joinTokensSchema = z
  .strictObject({ tokens: z.array(joinTokenSchema) })
  .register(ANSWER_SCHEMAS, { id: "JoinTokens" });

export const completionResponseSchema = leaseResponseSchema
  .extend({ duplicate: z.boolean() })
  .register(ANSWER_SCHEMAS, { id: "CompletionResponse" });

export const runListSchema = z
  .strictObject({ runs: z.array(runSummary) })
  .register(ANSWER_SCHEMAS, { id: "RunList" });

export const pushResponseSchema = z
  .strictObject({ duplicate: z.boolean() })
  .register(ANSWER_SCHEMAS, { id: "PushResponse" });

true satisfies Same<z.output<typeof datasetSchema>, Dataset>;
true satisfies Same<z.output<typeof datasetPageSchema>, DatasetPage>;
true satisfies Same<z.output<typeof configSchema>, RunConfig>;
true satisfies Same<z.output<typeof runStatusSchema>, RunStatus>;
true satisfies Same<z.output<typeof runSummary>, RunSummary>;
true satisfies Same<z.output<typeof leaseResponseSchema>, LeaseResponse>;
true satisfies Same<
  z.output<typeof completionResponseSchema>,
  CompletionResponse
>;
true satisfies Same<z.output<typeof stepMetricsSchema>, StepMetrics>;
true satisfies Same<z.output<typeof trainersResponseSchema>, TrainersResponse>;
true satisfies Same<z.output<typeof joinTokenSchema>, JoinToken>;
true satisfies Same<z.output<typeof stepRecordSchema>, StepRecord>;
