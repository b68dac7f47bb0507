/** The schema of the body of `POST /v1/jobs`. */
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
/** URL and token are sent in headers, to the job and to the host. */
const url = once(() =>
  z
    .strictObject({
      url: z
        .string()
        .max(2048)
        .regex(/^[\x21-\x7e]+$/, PRINTABLE)
        .describe(
          "An https URL of a host that the service allows; the URL of a directory ends with a slash",
        ),
      token: z
        .string()
        .regex(/^[\x21-\x7e]{1,1024}$/, `${PRINTABLE}, 1 to 1024 of them`)
        .describe(
          "Bearer token for that host; never sent elsewhere, never shown",
        )
        .optional(),
    })
    .describe("A file or directory at a URL, read by ranges"),
);
const job = once(() => ({
  source: z
    .union([
      file().describe(
        "Name of a stored file, or, if there is none, of a folder",
      ),
      url(),
    ])
    .describe("The input"),
  result: file()
    .describe(
      "Name of the resulting file or folder; default: the job's id, with a file extension for a file",
    )
    .optional(),
  clientKey: name()
    .describe(
      "Becomes the job's id, so that repeating the request creates only one job",
    )
    .optional(),
  retentionMs: z
    .int()
    .min(RETENTION_MS.least)
    .max(RETENTION_MS.most)
    .describe(
      `How long the job and its result are kept after it has ended; default ${RETENTION_MS.default} (7 days)`,
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
