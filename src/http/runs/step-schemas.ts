/** The JSON of answers about a run's steps. */
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
      .describe(
        "SHA-256 over the results of all steps so far; does not depend on who trained (docs/trust.md)",
      ),
    chain: digest()
      .nullable()
      .describe("The same, including gradient digests and authors"),
    phases: z
      .strictObject({
        leaseMs: milliseconds(),
        pullMs: milliseconds(),
        computeMs: milliseconds(),
        pushMs: milliseconds(),
        pulledBytes: whole().describe("Bytes of parameter frames"),
        pushedBytes: whole().describe("Bytes of gradient frames"),
        commitMs: milliseconds()
          .nullable()
          .describe(
            "Time from the last completion until every shard had applied the update, during which all trainers wait",
          ),
      })
      .nullable()
      .describe("Times reported by trainers, summed over microbatches"),
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
          .describe("SHA-256 of the frame pushed to each shard"),
        authors: z.array(z.string()).describe("All authors of this result"),
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
