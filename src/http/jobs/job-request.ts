/** What `POST /v1/jobs` takes, checked. */
import * as z from "zod";
import { LAYOUTS } from "../../formats/blocks/layout.ts";
import {
  MIN_SCALES,
  PRESCALES,
  ROUNDING_MODES,
  SCALE_RULES,
  SEGMENT_CHOICES,
} from "../../formats/blocks/scheme.ts";
import { SEGMENT_LENGTHS } from "../../kernels/mxfp4.ts";
import { RETENTION_MS } from "../../objects/job/job-record.ts";
import { NAME_PATTERN } from "../../training/config.ts";
import { REQUEST_SCHEMAS } from "../declaration/route.ts";

const name = z.string().regex(NAME_PATTERN);
const seed = z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional();
const patterns = z.array(z.string().min(1).max(256)).max(32).optional();
const selection = { include: patterns, exclude: patterns };
const raw = z
  .strictObject({
    dtype: z.enum(["f32", "f16", "bf16", "f64"]),
    shape: z.array(z.int().min(0)).min(1).max(16),
  })
  .optional();

const job = {
  source: name.describe("Name of a stored file"),
  result: name
    .describe("Of the file to come; else the job's id and the source's ending")
    .optional(),
  clientKey: name
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
};

/** The options of the tensor routes, as JSON. */
export const jobRequestSchema = z
  .discriminatedUnion("operation", [
    z.strictObject({
      operation: z.literal("quantize"),
      ...job,
      options: z
        .strictObject({
          rounding: z.enum(ROUNDING_MODES).optional(),
          scale: z.enum(SCALE_RULES).optional(),
          prescale: z.literal(PRESCALES).optional(),
          minScale: z.literal(MIN_SCALES).optional(),
          hadamard: z.literal(SEGMENT_CHOICES).optional(),
          seed,
          layout: z.enum(LAYOUTS).optional(),
          ...selection,
          raw,
        })
        .optional(),
    }),
    z.strictObject({
      operation: z.literal("dequantize"),
      ...job,
      options: z
        .strictObject({ dtype: z.enum(["f32", "bf16", "f16"]).optional() })
        .optional(),
    }),
    z.strictObject({
      operation: z.literal("hadamard"),
      ...job,
      options: z
        .strictObject({
          direction: z.enum(["forward", "inverse"]).optional(),
          hadamard: z.literal(SEGMENT_LENGTHS).optional(),
          seed,
          ...selection,
          raw,
        })
        .optional(),
    }),
  ])
  .register(REQUEST_SCHEMAS, { id: "JobRequest" });
