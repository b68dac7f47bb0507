/** Long conversions between files of the bucket. */
import type { JobPage, JobRequest } from "../../api/tensors.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import type { JobEntry } from "../../objects/directory/job-list.ts";
import { jobStub } from "../../objects/job/job.ts";
import { limit, wrongCursor } from "../declaration/page.ts";
import { textParameter } from "../declaration/parameter.ts";
import { route } from "../declaration/route.ts";
import { GONE } from "../files/stored-bytes.ts";
import { jobRequestSchema } from "./job-request.ts";
import { jobPageSchema, jobStatusSchema } from "./job-schemas.ts";
import { json } from "../json.ts";

/** A list queries each of its jobs, and a request on the platform's free plan may make 50 calls. */
const MAX_PAGE = 40;

export const JOB_ROUTES = [
  route({
    id: "createJob",
    method: "post",
    path: "/v1/jobs",
    tag: "jobs",
    access: "owner",
    summary:
      "Create a job: convert a stored file or folder, or one at a URL, of any size",
    description:
      "Idempotent with a `clientKey`. If the input is invalid, the job ends as `failed`. For a folder with a model (config.json, safetensors, index), quantize and dequantize write another folder, for the loader named by `for`, with a model card README.md; its config.json is written last. For llama.cpp the result is one GGUF. A URL is read by ranges, in the version found first. A job that has ended is deleted after `retentionMs`, together with its result.",
    body: {
      description: "An operation and its options",
      json: jobRequestSchema,
      code: "invalid_option",
    },
    answers: {
      200: {
        description: "The same job already existed",
        json: jobStatusSchema,
      },
      201: { description: "Created", json: jobStatusSchema },
    },
    errors: ["file_not_found", "job_differs", "file_exists"],
    examples: {
      quantize: {
        summary: "The paper's scheme",
        body: {
          operation: "quantize",
          source: "example/model.safetensors",
          result: "example-mxfp4.safetensors",
          clientKey: "example",
          retentionMs: 86_400_000,
          options: { rounding: "stochastic", scale: "floor", prescale: 0.75 },
        },
      },
    },
    async handle(c, { body }) {
      const request: JobRequest = body;
      const id = request.clientKey ?? `job-${crypto.randomUUID()}`;
      const stub = jobStub(c.env, id);
      const present = await stub.find(request);
      if (present) return json(present, 200);

      const { created, status } = await stub.begin(id, request);
      return json(status, created ? 201 : 200);
    },
  }),

  route({
    id: "listJobs",
    method: "get",
    path: "/v1/jobs",
    tag: "jobs",
    access: "owner",
    summary: "List the jobs, newest first",
    query: {
      limit: limit(MAX_PAGE, 20),
      cursor: textParameter("The `next` of the previous page"),
    },
    answers: { 200: { description: "A page", json: jobPageSchema } },
    examples: { newest: { summary: "The newest", query: { limit: 10 } } },
    async handle(c, { limit: most, cursor }) {
      const after = cursor === undefined ? null : readCursor(cursor);
      const found = await directoryStub(c.env).jobs(most + 1, after);
      const entries = found.slice(0, most);
      const jobs = await Promise.all(
        entries.map(({ job }) => jobStub(c.env, job).summary()),
      );
      return json({
        // Null if it was deleted meanwhile.
        jobs: jobs.filter((job) => job !== null),
        next: found.length > most ? writeCursor(entries.at(-1)!) : null,
      } satisfies JobPage);
    },
  }),

  route({
    id: "getJob",
    method: "get",
    path: "/v1/jobs/{job}",
    tag: "jobs",
    access: "owner",
    summary: "Get a job: state, progress, why it failed, its latest log lines",
    answers: { 200: { description: "The job", json: jobStatusSchema } },
    handle: async (c, { job }) => json(await jobStub(c.env, job).status()),
  }),

  route({
    id: "deleteJob",
    method: "delete",
    path: "/v1/jobs/{job}",
    tag: "jobs",
    access: "owner",
    summary: "Delete a job; cancels it if it is running",
    description:
      "The result of a finished job is kept, and no longer expires. Incomplete results are deleted.",
    answers: GONE,
    async handle(c, { job }) {
      await jobStub(c.env, job).remove();
      return c.body(null, 204);
    },
  }),
];

/** The position after an entry; stable when others are added or deleted. */
function writeCursor({ createdMs, job }: JobEntry): string {
  return `${createdMs}-${job}`;
}

function readCursor(cursor: string): JobEntry {
  const [, createdMs, job] = /^(\d{1,15})-([\w.-]{1,64})$/.exec(cursor) ?? [];
  if (createdMs === undefined || job === undefined) throw wrongCursor(cursor);
  return { createdMs: Number(createdMs), job };
}
