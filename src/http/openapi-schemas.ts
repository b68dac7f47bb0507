/** The JSON that answers bear, as schemas that are the types of api/types.ts to the compiler. */
import * as z from "zod";
import { RECIPES } from "../api/recipe.ts";
import type {
  Analysis,
  JobPage,
  JobStatus,
  StoredFile,
} from "../api/tensors.ts";
import {
  type CompletionResponse,
  type Dataset,
  type LeaseResponse,
  type RunConfig,
  type RunStatus,
  type RunSummary,
  type StepMetrics,
  type TrainersResponse,
  WIRE_DTYPES,
} from "../api/types.ts";

/** Whole numbers that JSON bears exactly. */
const whole = z.int().min(0);
const time = whole.describe("Milliseconds since the epoch");
const loss = z.number().nullable().describe("Nats per token");

const state = z.enum([
  "running",
  "paused",
  "finished",
  "cancelled",
  "diverged",
]);

const dataset = z.strictObject({
  name: z.string(),
  digest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .describe("SHA-256 of the tokens' bytes"),
  tokens: whole,
  tokenizer: z.literal("byte"),
  vocabulary: whole,
});

const config = z.strictObject({
  dataset,
  model: z.strictObject({
    layers: whole,
    width: whole,
    heads: whole,
    context: whole,
    vocabulary: whole,
  }),
  recipe: z.enum(RECIPES),
  gradientDtype: z.enum(WIRE_DTYPES),
  seed: whole,
  steps: whole,
  microbatches: whole,
  sequences: whole,
  optimizer: z.strictObject({
    learningRate: z.number(),
    finalLearningRateRatio: z.number(),
    warmupSteps: whole,
    beta1: z.number(),
    beta2: z.number(),
    epsilon: z.number(),
    weightDecay: z.number(),
    clip: z.number(),
  }),
  evaluation: z.strictObject({ interval: whole, microbatches: whole }),
  shards: whole,
  snapshotSteps: whole,
});

const runStatus = z.strictObject({
  run: z.string(),
  state,
  step: whole.describe("Updates that the parameters have seen"),
  config,
  parameters: whole,
  shards: z.array(
    z.strictObject({ index: whole, start: whole, length: whole }),
  ),
  trainers: z.array(
    z.strictObject({ name: z.string(), lastSeenMs: time, completions: whole }),
  ),
  trainLoss: loss,
  valLoss: loss,
  createdMs: time,
});

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
});

const leaseResponse = z.strictObject({ state, lease: lease.nullable() });

const stepMetrics = z.strictObject({
  step: whole,
  trainLoss: loss,
  gradNorm: z.number().nullable().describe("Global L2 norm before clipping"),
  learningRate: z.number(),
  tokens: whole,
  valLoss: loss,
  committedMs: time,
});

const trainersResponse = z.union([
  z.strictObject({ trainers: z.array(z.string()) }),
  z.strictObject({ token: z.string(), expiresMs: time }),
]);

const completionResponse = leaseResponse.extend({ duplicate: z.boolean() });

const figure = z.number().nullable();
const share = z.number().min(0).max(1).describe("Of the elements");

const figures = z.strictObject({
  elements: whole,
  kurtosis: figure.describe("3 for normal values, large with outliers"),
  schemes: z.array(
    z.strictObject({
      scheme: z.string(),
      sqnrDb: figure.describe("Signal to quantization noise; null: no noise"),
      mse: figure,
      cosine: figure,
      maxError: figure,
      clipped: share,
      zeroed: share,
      nan: share,
    }),
  ),
  recommended: z.string().nullable(),
});

const analysis = z.strictObject({
  tensors: z.array(
    figures.extend({
      name: z.string(),
      dtype: z.string(),
      shape: z.array(whole).readonly(),
    }),
  ),
  passedOver: z
    .array(
      z.strictObject({
        name: z.string(),
        dtype: z.string().describe("As the container calls it: I64, Q4_0"),
        shape: z.array(whole).readonly(),
        reason: z.string(),
      }),
    )
    .describe("What was asked for and quantizing would leave as it is"),
  total: figures,
  rule: z.string().describe("How a scheme is recommended"),
});

const storedFile = z.strictObject({
  name: z.string(),
  bytes: whole,
  digest: z.string().describe("SHA-256 in hexadecimal"),
});

const jobSummary = z.strictObject({
  job: z.string(),
  state: z.enum(["running", "finished", "failed"]),
  source: z.string(),
  result: z.string().describe("Name of the file that it becomes"),
  operation: z.enum(["quantize", "dequantize", "hadamard"]),
  inputBytes: whole.describe("Of the source, read so far"),
  totalInputBytes: whole,
  outputBytes: whole.describe("Of the result, so far"),
  totalOutputBytes: whole.nullable(),
  createdMs: time,
  endedMs: time.nullable(),
  expiresMs: time.nullable().describe("When it and its result go"),
  error: z
    .strictObject({ code: z.string(), detail: z.string() })
    .nullable()
    .describe("Why it failed"),
});

const jobStatus = jobSummary.extend({
  log: z.array(z.strictObject({ timeMs: time, text: z.string() })),
});

const jobPage = z.strictObject({
  jobs: z.array(jobSummary),
  next: z.string().nullable().describe("The cursor of the page behind this"),
});

const problem = z
  .object({
    type: z.string().describe("urn:mxfp4-edge:problem:<code>"),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe("What was expected and what came").optional(),
    instance: z.string().describe("The path").optional(),
    code: z.string().optional(),
  })
  .describe("RFC 9457");

/** By the names that the description gives them. */
export const ANSWER_SCHEMAS = {
  Problem: problem,
  Health: z.strictObject({ status: z.literal("ok") }),
  Dataset: dataset,
  RunConfig: config,
  RunStatus: runStatus,
  RunList: z.strictObject({ runs: z.array(runSummary) }),
  TrainersResponse: trainersResponse,
  LeaseResponse: leaseResponse,
  CompletionResponse: completionResponse,
  PushResponse: z.strictObject({ duplicate: z.boolean() }),
  StepMetrics: stepMetrics,
  Analysis: analysis,
  StoredFile: storedFile,
  JobStatus: jobStatus,
  JobPage: jobPage,
} as const;

// What the code answers and what is described are the same types.
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
true satisfies Same<z.output<typeof dataset>, Dataset>;
true satisfies Same<z.output<typeof config>, RunConfig>;
true satisfies Same<z.output<typeof runStatus>, RunStatus>;
true satisfies Same<z.output<typeof runSummary>, RunSummary>;
true satisfies Same<z.output<typeof leaseResponse>, LeaseResponse>;
true satisfies Same<z.output<typeof completionResponse>, CompletionResponse>;
true satisfies Same<z.output<typeof stepMetrics>, StepMetrics>;
true satisfies Same<z.output<typeof trainersResponse>, TrainersResponse>;
true satisfies Same<z.output<typeof analysis>, Analysis>;
true satisfies Same<z.output<typeof storedFile>, StoredFile>;
true satisfies Same<z.output<typeof jobStatus>, JobStatus>;
true satisfies Same<z.output<typeof jobPage>, JobPage>;
