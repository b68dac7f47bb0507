/** The JSON of answers about runs; checked against the types of api/ at compile time. */
import * as z from "zod";
import { once } from "../../api/once.ts";
import { OPTIMIZER_NAMES, SCHEDULES } from "../../api/optimizer.ts";
import { RECIPE_NAMES } from "../../api/recipe.ts";
import {
  type LlamaShape,
  type RunConfig,
  WIRE_DTYPES,
} from "../../api/run-config.ts";
import {
  AUTHOR_STATES,
  HOST_KINDS,
  type JoinToken,
  type RunStatus,
  type RunSummary,
  type TrainersResponse,
} from "../../api/run-status.ts";
import { ropeScalingSchema } from "../../training/run-request.ts";
import { pinnedDatasetSchema } from "../datasets/dataset-schemas.ts";
import { digest, time, whole } from "../declaration/json-values.ts";
import {
  answerSchema,
  type OutputOf,
  type Same,
} from "../declaration/schema.ts";

export const loss = once(() =>
  z.number().nullable().describe("Nats per token"),
);
export const natsPerByte = once(() =>
  z.number().nullable().describe("The same in nats per byte of the text"),
);

export const state = once(() =>
  z.enum(["running", "paused", "finished", "cancelled", "diverged"]),
);

/** GPT-2, or with `arch` a Llama. */
const modelSchema = once(() => {
  const sizes = {
    layers: whole(),
    width: whole(),
    heads: whole(),
    context: whole(),
    vocabulary: whole(),
  };
  const llama = z.strictObject({
    ...sizes,
    arch: z.literal("llama"),
    groups: whole(),
    headWidth: whole(),
    hidden: whole(),
    ropeBase: z.number(),
    epsilon: z.number(),
    tied: z.boolean(),
    headNorm: z.boolean(),
    qkvBias: z.boolean().optional(),
    outBias: z.boolean().optional(),
    mlpBias: z.boolean().optional(),
    ropeScaling: ropeScalingSchema().optional(),
  });
  true satisfies Same<z.output<typeof llama>, LlamaShape>;
  true satisfies Same<keyof z.output<typeof llama>, keyof LlamaShape>;
  return z.union([z.strictObject(sizes), llama]);
});

const configSchema = answerSchema("RunConfig", () =>
  z.strictObject({
    dataset: pinnedDatasetSchema(),
    model: modelSchema(),
    from: z
      .strictObject({
        folder: z.string(),
        digest: digest(),
        resumed: z
          .strictObject({
            step: whole(),
            tokens: whole(),
            origin: digest().nullable(),
            results: digest().optional(),
          })
          .optional()
          .describe("The step and digests at which the resumed run was"),
      })
      .optional()
      .describe("The model or checkpoint that the run started from"),
    recipe: z.enum(RECIPE_NAMES),
    gradientDtype: z.enum(WIRE_DTYPES),
    seed: whole(),
    steps: whole(),
    microbatches: whole(),
    sequences: whole(),
    optimizer: z.strictObject({
      name: z.enum(OPTIMIZER_NAMES),
      learningRate: z.number(),
      matrixLearningRate: z.number(),
      schedule: z.enum(SCHEDULES),
      finalLearningRateRatio: z.number(),
      warmupSteps: whole(),
      cooldownSteps: whole(),
      momentum: z.number(),
      beta1: z.number(),
      beta2: z.number(),
      epsilon: z.number(),
      weightDecay: z.number(),
      clip: z.number(),
    }),
    evaluation: z.strictObject({ interval: whole(), microbatches: whole() }),
    shards: whole(),
    snapshotSteps: whole(),
    subtree: whole().optional(),
    verify: z.number().optional(),
    redundancy: whole().optional(),
  }),
);

const name = once(() =>
  z.string().nullable().describe("Display name, or null"),
);

export const runStatusSchema = answerSchema("RunStatus", () =>
  z.strictObject({
    run: z.string(),
    name: name(),
    state: state(),
    step: whole().describe("Number of updates so far"),
    config: configSchema(),
    fingerprint: z
      .string()
      .nullable()
      .describe(
        "Fingerprint that the run's trainers must have; null before the first",
      ),
    parameters: whole(),
    shards: z.array(
      z.strictObject({ index: whole(), start: whole(), length: whole() }),
    ),
    trainers: z.array(
      z.strictObject({
        name: z.string(),
        author: z
          .string()
          .describe("Id of its join token, or `owner.` and the trainer's name"),
        host: z
          .enum(HOST_KINDS)
          .nullable()
          .describe("The kind of host that it reported"),
        lastSeenMs: time(),
        completions: whole(),
      }),
    ),
    trainLoss: loss(),
    trainNatsPerByte: natsPerByte(),
    valLoss: loss(),
    valNatsPerByte: natsPerByte(),
    createdMs: time(),
  }),
);

const runSummary = once(() =>
  z.strictObject({
    run: z.string(),
    name: name(),
    dataset: z.string(),
    ended: z.boolean(),
    createdMs: time(),
  }),
);

export const trainersResponseSchema = answerSchema("TrainersResponse", () =>
  z.union([
    z.strictObject({ trainers: z.array(z.string()) }),
    z.strictObject({ token: z.string(), id: z.string(), expiresMs: time() }),
  ]),
);

export const joinTokenSchema = answerSchema("JoinToken", () =>
  z.strictObject({
    id: z.string(),
    issuedMs: time().nullable(),
    expiresMs: time().nullable(),
    state: z.enum(AUTHOR_STATES),
  }),
);

export const joinTokensSchema = answerSchema("JoinTokens", () =>
  z.strictObject({ tokens: z.array(joinTokenSchema()) }),
);

export const runListSchema = answerSchema("RunList", () =>
  z.strictObject({ runs: z.array(runSummary()) }),
);

true satisfies Same<OutputOf<typeof configSchema>, RunConfig>;
true satisfies Same<OutputOf<typeof runStatusSchema>, RunStatus>;
true satisfies Same<OutputOf<typeof runSummary>, RunSummary>;
true satisfies Same<OutputOf<typeof trainersResponseSchema>, TrainersResponse>;
true satisfies Same<OutputOf<typeof joinTokenSchema>, JoinToken>;
