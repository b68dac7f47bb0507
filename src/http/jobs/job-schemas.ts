/** The JSON that answers on jobs bear. */
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
    result: z.string().describe("Name of the file or folder that it becomes"),
    isFolder: z.boolean().describe("Whether the result is a folder"),
    operation: z.enum([
      "quantize",
      "dequantize",
      "repack",
      "hadamard",
      "analyze",
    ]),
    inputBytes: whole().describe("Of the source, read so far"),
    totalInputBytes: whole()
      .nullable()
      .describe("null until a URL has answered"),
    outputBytes: whole().describe("Of the result, so far"),
    totalOutputBytes: whole().nullable(),
    createdMs: time(),
    endedMs: time().nullable(),
    expiresMs: time().nullable().describe("When it and its result go"),
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
      .describe("Files of a folder's weights that were not read"),
    missing: z
      .array(z.string())
      .describe("What a loader asks for and the folder has not"),
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
