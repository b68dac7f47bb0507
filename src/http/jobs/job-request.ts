/** What `POST /v1/jobs` takes, checked. */
import * as z from "zod";
import { once } from "../../api/once.ts";
import { JOB_OPTIONS } from "../../api/options.ts";
import { RETENTION_MS } from "../../objects/job/job-record.ts";
import { FILE_NAME, NAME } from "../../api/text-rules.ts";
import { ruled } from "../../training/run-request.ts";
import { objectOf } from "../declaration/option-schemas.ts";
import { requestSchema } from "../declaration/schema.ts";

const name = once(() => ruled(NAME));
const file = once(() => ruled(FILE_NAME));
const PRINTABLE = "to be printable ASCII characters without spaces";
/** Both travel in headers: to the job, and to the host. */
const url = once(() =>
  z
    .strictObject({
      url: z
        .string()
        .max(2048)
        .regex(/^[\x21-\x7e]+$/, PRINTABLE)
        .describe(
          "Of https and a host that the service allows; a directory's ends with a slash",
        ),
      token: z
        .string()
        .regex(/^[\x21-\x7e]{1,1024}$/, `${PRINTABLE}, 1 to 1024 of them`)
        .describe("Sent to that host alone, and never shown")
        .optional(),
    })
    .describe("What is elsewhere, read by ranges"),
);
const job = once(() => ({
  source: z
    .union([
      file().describe(
        "Name of a stored file, or where there is none of a folder",
      ),
      url(),
    ])
    .describe("What is read"),
  result: file()
    .describe(
      "Of the file or folder to come; else the job's id and a file's ending",
    )
    .optional(),
  clientKey: name()
    .describe("The job's id, so that repeating the request creates one job")
    .optional(),
  retentionMs: z
    .int()
    .min(RETENTION_MS.least)
    .max(RETENTION_MS.most)
    .describe(
      `How long the job and its result stay once it has ended; ${RETENTION_MS.default} (7 days) unless told`,
    )
    .optional(),
}));

/** An operation with its options, as JSON. */
const withOptions = <O extends keyof typeof JOB_OPTIONS>(operation: O) =>
  z.strictObject({
    operation: z.literal(operation),
    ...job(),
    options: objectOf(JOB_OPTIONS[operation]).optional(),
  });

export const jobRequestSchema = requestSchema("JobRequest", () =>
  z.discriminatedUnion("operation", [
    withOptions("quantize"),
    withOptions("dequantize"),
    withOptions("repack"),
    withOptions("hadamard"),
    withOptions("analyze"),
  ]),
);
