/** Long conversions, from and to the bucket. */
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

/** A list asks each of its jobs, and a request on the platform's free plan may make 50 calls. */
const MAX_PAGE = 40;

export const JOB_ROUTES = [
  route({
    id: "createJob",
    method: "post",
    path: "/v1/jobs",
    tag: "jobs",
    access: "owner",
    summary: "Begin a conversion of a stored file or folder, of any size",
    description:
      "With a `clientKey`, repeating it changes nothing. What is wrong with the file ends the job as `failed`. Of a folder that holds a model (config.json, safetensors, their index) quantize and dequantize make another, for the loader that `for` names, with its card README.md; its config.json comes last. For llama.cpp one GGUF comes of it. A URL is read by ranges, in the version that is found first. A job that has ended goes after `retentionMs`, and its result with it.",
    body: {
      description: "An operation and its options",
      json: jobRequestSchema,
      code: "invalid_option",
    },
    answers: {
      200: { description: "The same job was there", json: jobStatusSchema },
      201: { description: "Begun", json: jobStatusSchema },
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
    summary: "The jobs that exist, the newest first",
    query: {
      limit: limit(MAX_PAGE, 20),
      cursor: textParameter("The `next` of the page before"),
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
        // One that goes at this moment is null.
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
    summary: "Where a job is: state, progress, why it failed, its latest log",
    answers: { 200: { description: "The job", json: jobStatusSchema } },
    handle: async (c, { job }) => json(await jobStub(c.env, job).status()),
  }),

  route({
    id: "deleteJob",
    method: "delete",
    path: "/v1/jobs/{job}",
    tag: "jobs",
    access: "owner",
    summary: "Cancel a job that runs, and forget it",
    description:
      "The result of one that has finished stays, now for good; of another nothing does.",
    answers: GONE,
    async handle(c, { job }) {
      await jobStub(c.env, job).remove();
      return c.body(null, 204);
    },
  }),
];

/** The place behind an entry, which stays the same when others come and go. */
function writeCursor({ createdMs, job }: JobEntry): string {
  return `${createdMs}-${job}`;
}

function readCursor(cursor: string): JobEntry {
  const [, createdMs, job] = /^(\d{1,15})-([\w.-]{1,64})$/.exec(cursor) ?? [];
  if (createdMs === undefined || job === undefined) throw wrongCursor(cursor);
  return { createdMs: Number(createdMs), job };
}
