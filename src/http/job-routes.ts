/** Long conversions, from and to the bucket. */
import { Hono } from "hono";
import { z } from "zod";
import { AppError } from "../api/errors.ts";
import type { JobRequest } from "../api/tensors.ts";
import { LAYOUTS } from "../formats/layout.ts";
import {
  MIN_SCALES,
  PRESCALES,
  ROUNDING_MODES,
  SCALE_RULES,
  SEGMENT_CHOICES,
} from "../formats/scheme.ts";
import { SEGMENT_LENGTHS } from "../kernels/mxfp4.ts";
import { jobStub } from "../objects/job.ts";
import { fileKey } from "../objects/job-work.ts";
import { NAME_PATTERN } from "../training/config.ts";
import { readValid } from "./body.ts";
import type { AppEnv } from "./env.ts";
import { jobName } from "./path.ts";

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
};

/** The options of the tensor routes, as JSON. */
export const jobRequestSchema = z.discriminatedUnion("operation", [
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
]);

export const jobRoutes = new Hono<AppEnv>()

  /**
   * Begin a conversion of a stored file. With a `clientKey`, repeating it changes nothing.
   *
   * Body:   a JobRequest: { operation: quantize | dequantize | hadamard, source, options?, result?,
   *         clientKey? }
   * 201:    a JobStatus;  200: the same job was there before
   * Errors: 400 malformed_json, 404 file_not_found, 409 job_differs | file_exists (the result's name),
   *         422 invalid_option. What is wrong with the file ends the job as `failed`
   */
  .post("/v1/jobs", async (c) => {
    const request: JobRequest = await readValid(
      c,
      jobRequestSchema,
      "invalid_option",
    );
    const id = request.clientKey ?? `job-${crypto.randomUUID()}`;
    const stub = jobStub(c.env, id);
    const present = await stub.find(request);
    if (present) return c.json(present, 200);

    const source = await c.env.BUCKET.head(fileKey(request.source));
    if (!source) {
      throw new AppError(
        "file_not_found",
        `Expected \`source\` to be the name of a file, got "${request.source}"`,
      );
    }
    const result = request.result ?? `${id.slice(0, 50)}${ending(request)}`;
    if (await c.env.BUCKET.head(fileKey(result))) {
      throw new AppError(
        "file_exists",
        `Expected \`result\` to be the name of no file yet, got "${result}"`,
      );
    }
    const { key, etag, size: bytes } = source;
    const file = { key, etag, bytes };
    const { created, status } = await stub.begin(id, request, file, result);
    return c.json(status, created ? 201 : 200);
  })

  /**
   * Where a job is: state, progress, why it failed, its latest log lines.
   *
   * 200:    a JobStatus
   * Errors: 404 job_not_found
   */
  .get("/v1/jobs/:job", async (c) =>
    c.json(await jobStub(c.env, jobName(c.req.param("job"))).status()),
  )

  /**
   * Cancel a job that runs, and forget it. A result that is whole stays; one that is not leaves nothing.
   *
   * 204:    gone
   * Errors: 404 job_not_found
   */
  .delete("/v1/jobs/:job", async (c) => {
    await jobStub(c.env, jobName(c.req.param("job"))).remove();
    return c.body(null, 204);
  });

/** GGUF stays GGUF; everything else becomes safetensors. */
function ending({ source }: JobRequest): string {
  return source.endsWith(".gguf") ? ".gguf" : ".safetensors";
}
