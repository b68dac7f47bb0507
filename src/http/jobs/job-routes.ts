/** Long conversions, from and to the bucket. */
import { Hono } from "hono";
import { AppError } from "../../api/errors.ts";
import type { JobPage, JobRequest } from "../../api/tensors.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import { jobStub } from "../../objects/job/job.ts";
import type { JobEntry } from "../../objects/directory/job-list.ts";
import { fileKey } from "../../objects/job/job-work.ts";
import { readValid } from "../body.ts";
import type { AppEnv } from "../env.ts";
import { jobRequestSchema, PAGE } from "./job-request.ts";
import { jobName } from "../path.ts";
import { checkQuery, wholeNumber } from "../query.ts";

export const jobRoutes = new Hono<AppEnv>()

  /**
   * Begin a conversion of a stored file. With a `clientKey`, repeating it changes nothing.
   *
   * Body:   a JobRequest: { operation: quantize | dequantize | hadamard, source, options?, result?,
   *         clientKey?, retentionMs? }
   * 201:    a JobStatus;  200: the same job was there before
   * Errors: 400 malformed_json, 404 file_not_found, 409 job_differs | file_exists (the result's name),
   *         422 invalid_option, 503 unavailable (one of this id is being removed: repeat). What is
   *         wrong with the file ends the job as `failed`
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
    const { key, etag, size: bytes } = source;
    const file = { key, etag, bytes };
    const { created, status } = await stub.begin(id, request, file, result);
    return c.json(status, created ? 201 : 200);
  })

  /**
   * The jobs that exist, the newest first.
   *
   * Query:  limit    at most so many a page, 1 to 40; 20 unless told
   *         cursor   the `next` of the page before
   * 200:    a JobPage: { jobs, next }; `next` is null on the last page
   * Errors: 422 invalid_option
   */
  .get("/v1/jobs", async (c) => {
    checkQuery(c, ["limit", "cursor"]);
    const limit = wholeNumber(c, "limit", PAGE.default);
    if (limit < 1 || limit > PAGE.most) {
      throw new AppError(
        "invalid_option",
        `Expected \`limit\` to be from 1 to ${PAGE.most}, got ${limit}`,
      );
    }
    const after = readCursor(c.req.query("cursor"));
    const found = await directoryStub(c.env).jobs(limit + 1, after);
    const entries = found.slice(0, limit);
    const jobs = await Promise.all(
      entries.map(({ job }) => jobStub(c.env, job).summary()),
    );
    return c.json({
      // One that goes at this moment is null.
      jobs: jobs.filter((job) => job !== null),
      next: found.length > limit ? writeCursor(entries.at(-1)!) : null,
    } satisfies JobPage);
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
   * Cancel a job that runs, and forget it. The result of one that has finished stays, now for good; of
   * another nothing does.
   *
   * 204:    gone
   * Errors: 404 job_not_found
   */
  .delete("/v1/jobs/:job", async (c) => {
    await jobStub(c.env, jobName(c.req.param("job"))).remove();
    return c.body(null, 204);
  });

/** The place behind an entry, which stays the same when others come and go. */
function writeCursor({ createdMs, job }: JobEntry): string {
  return `${createdMs}-${job}`;
}

function readCursor(cursor: string | undefined): JobEntry | null {
  if (cursor === undefined) return null;
  const [, createdMs, job] = /^(\d{1,15})-([\w.-]{1,64})$/.exec(cursor) ?? [];
  if (createdMs === undefined || job === undefined) {
    throw new AppError(
      "invalid_option",
      `Expected \`cursor\` to be the \`next\` of a page, got "${cursor}"`,
    );
  }
  return { createdMs: Number(createdMs), job };
}

/** GGUF stays GGUF; everything else becomes safetensors. */
function ending({ source }: JobRequest): string {
  return source.endsWith(".gguf") ? ".gguf" : ".safetensors";
}
