/** The JSON that tells of a run's steps. */
import * as z from "zod";
import { once } from "../../api/once.ts";
import type { StepMetrics, StepRecord } from "../../api/run-metrics.ts";
import { digest, time, whole } from "../declaration/json-values.ts";
import { loss, natsPerByte } from "./run-schemas.ts";
import {
  answerSchema,
  type OutputOf,
  type Same,
} from "../declaration/schema.ts";

const milliseconds = once(() => z.number().min(0));
const stepMetricsSchema = answerSchema("StepMetrics", () =>
  z.strictObject({
    step: whole(),
    trainLoss: loss(),
    gradNorm: z.number().nullable().describe("Global L2 norm before clipping"),
    learningRate: z.number(),
    tokens: whole(),
    valLoss: loss(),
    committedMs: time(),
    trainNatsPerByte: natsPerByte(),
    valNatsPerByte: natsPerByte(),
    results: digest()
      .nullable()
      .describe("SHA-256 of what all steps so far came to, whoever computed"),
    chain: digest()
      .nullable()
      .describe("The same with each gradient's digests, and whose they are"),
    phases: z
      .strictObject({
        leaseMs: milliseconds(),
        pullMs: milliseconds(),
        computeMs: milliseconds(),
        pushMs: milliseconds(),
        pulledBytes: whole().describe("Of parameters' frames"),
        pushedBytes: whole().describe("Of gradients' frames"),
        commitMs: milliseconds()
          .nullable()
          .describe(
            "From the last completion until every shard had the update, in which all wait",
          ),
      })
      .nullable()
      .describe("Where time went, summed over microbatches, as trainers tell"),
  }),
);

export const stepRecordSchema = answerSchema("StepRecord", () =>
  z.strictObject({
    step: whole(),
    microbatches: z.array(
      z.strictObject({
        index: whole(),
        lossSum: z.number().nullable(),
        tokens: whole(),
        bytes: whole(),
        digests: z
          .array(digest())
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
        results: digest().nullable(),
        chain: digest().nullable(),
        before: z.strictObject({ results: digest(), chain: digest() }),
      })
      .nullable(),
  }),
);

export const statesSchema = answerSchema("States", () =>
  z.strictObject({ steps: z.array(whole()) }),
);

true satisfies Same<OutputOf<typeof stepMetricsSchema>, StepMetrics>;
true satisfies Same<OutputOf<typeof stepRecordSchema>, StepRecord>;
