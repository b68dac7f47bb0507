/** The operations on stored files and jobs, described. */
import { PAGE } from "./job-request.ts";
import {
  GONE,
  RANGE,
  rangedAnswers,
  UPLOAD_ERRORS,
} from "../files/openapi-bytes.ts";
import type { Operation } from "../openapi-operation.ts";
import { exampleCheckpoint } from "../tensors/openapi-tensor-examples.ts";

export const FILE_OPERATIONS: Operation[] = [
  {
    id: "putFile",
    method: "put",
    path: "/v1/files/{file}",
    tag: "jobs",
    summary: "Store a file for jobs",
    description:
      "In place of one that has the name. Larger files than the platform takes in one request come by R2's S3 interface, under files/.",
    body: { description: "The file, with Content-Length" },
    answers: { 201: { description: "Stored", json: "StoredFile" } },
    errors: UPLOAD_ERRORS,
    examples: {
      checkpoint: { summary: "A safetensors file", body: exampleCheckpoint },
    },
  },
  {
    id: "getFile",
    method: "get",
    path: "/v1/files/{file}",
    tag: "jobs",
    summary: "A stored file, or a range of it",
    parameters: [RANGE],
    answers: rangedAnswers("Of the content"),
    errors: ["file_not_found", "range_not_satisfiable", "invalid_name"],
    examples: {
      all: { summary: "Everything" },
      head: { summary: "The first bytes", headers: { Range: "bytes=0-7" } },
    },
  },
  {
    id: "deleteFile",
    method: "delete",
    path: "/v1/files/{file}",
    tag: "jobs",
    summary: "Remove a stored file",
    answers: GONE,
    errors: ["file_not_found", "invalid_name"],
  },
];

export const JOB_OPERATIONS: Operation[] = [
  {
    id: "createJob",
    method: "post",
    path: "/v1/jobs",
    tag: "jobs",
    summary: "Begin a conversion of a stored file, of any size",
    description:
      "With a `clientKey`, repeating it changes nothing. What is wrong with the file ends the job as `failed`. A job that has ended goes after `retentionMs`, and its result with it.",
    body: { description: "An operation and its options", json: "JobRequest" },
    answers: {
      200: { description: "The same job was there", json: "JobStatus" },
      201: { description: "Begun", json: "JobStatus" },
    },
    errors: [
      "malformed_json",
      "file_not_found",
      "job_differs",
      "file_exists",
      "body_too_large",
      "invalid_option",
      "unavailable",
    ],
    examples: {
      quantize: {
        summary: "The paper's scheme",
        body: {
          operation: "quantize",
          source: "example.safetensors",
          result: "example-mxfp4.safetensors",
          clientKey: "example",
          retentionMs: 86_400_000,
          options: { rounding: "stochastic", scale: "floor", prescale: 0.75 },
        },
      },
    },
  },
  {
    id: "listJobs",
    method: "get",
    path: "/v1/jobs",
    tag: "jobs",
    summary: "The jobs that exist, the newest first",
    parameters: [
      {
        name: "limit",
        in: "query",
        description: "At most so many a page",
        schema: {
          type: "integer",
          minimum: 1,
          maximum: PAGE.most,
          default: PAGE.default,
        },
      },
      {
        name: "cursor",
        in: "query",
        description: "The `next` of the page before",
        schema: { type: "string" },
      },
    ],
    answers: { 200: { description: "A page", json: "JobPage" } },
    errors: ["invalid_option"],
    examples: { newest: { summary: "The newest", query: { limit: 10 } } },
  },
  {
    id: "getJob",
    method: "get",
    path: "/v1/jobs/{job}",
    tag: "jobs",
    summary: "Where a job is",
    answers: { 200: { description: "The job", json: "JobStatus" } },
    errors: ["job_not_found"],
  },
  {
    id: "deleteJob",
    method: "delete",
    path: "/v1/jobs/{job}",
    tag: "jobs",
    summary: "Cancel a job that runs, and forget it",
    description:
      "The result of one that has finished stays, now for good; of another nothing does.",
    answers: GONE,
    errors: ["job_not_found"],
  },
];
