/** The JSON of answers about jobs. */
import * as z from "zod";
import { once } from "../../api/once.ts";
import type { JobPage, JobStatus } from "../../api/tensors.ts";
import { next, time, whole } from "../declaration/json-values.ts";
import {
  answerSchema,
  type OutputOf,
  type Same,
} from "../declaration/schema.ts";

const jobSummary = once(() =>
  z.strictObject({
    job: z.string(),
    state: z.enum(["running", "finished", "failed"]),
    source: z.string(),
    result: z.string().describe("Name of the resulting file or folder"),
    isFolder: z.boolean().describe("Whether the result is a folder"),
    operation: z.enum([
      "quantize",
      "dequantize",
      "repack",
      "hadamard",
      "analyze",
    ]),
    inputBytes: whole().describe("Bytes of the source read so far"),
    totalInputBytes: whole()
      .nullable()
      .describe("Size of the source; null until its URL has been queried"),
    outputBytes: whole().describe("Bytes of the result written so far"),
    totalOutputBytes: whole().nullable(),
    createdMs: time(),
    endedMs: time().nullable(),
    expiresMs: time()
      .nullable()
      .describe("When the job and its result are deleted"),
    error: z
      .strictObject({ code: z.string(), detail: z.string() })
      .nullable()
      .describe("Why it failed"),
  }),
);

export const jobStatusSchema = answerSchema("JobStatus", () =>
  jobSummary().extend({
    leftOut: z
      .array(z.string())
      .describe("Weight files of the source folder that were not read"),
    missing: z
      .array(z.string())
      .describe("Files that the loader needs and the source folder lacks"),
    log: z.array(z.strictObject({ timeMs: time(), text: z.string() })),
  }),
);

export const jobPageSchema = answerSchema("JobPage", () =>
  z.strictObject({
    jobs: z.array(jobSummary()),
    next: next(),
  }),
);

true satisfies Same<OutputOf<typeof jobStatusSchema>, JobStatus>;
true satisfies Same<OutputOf<typeof jobPageSchema>, JobPage>;
