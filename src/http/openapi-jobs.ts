/** The operations on stored files and jobs, described. */
import type { Operation } from "./openapi-operation.ts";
import { exampleCheckpoint } from "./openapi-tensor-examples.ts";

const BINARY = "application/octet-stream";

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
    errors: [
      "malformed_body",
      "length_required",
      "body_too_large",
      "invalid_name",
    ],
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
    parameters: [
      {
        name: "Range",
        in: "header",
        description: "One range of bytes",
        schema: { type: "string", pattern: "^bytes=\\d*-\\d*$" },
      },
    ],
    answers: {
      200: {
        description: "All of it",
        type: BINARY,
        headers: { ETag: "Of the content", "Content-Length": "Bytes" },
      },
      206: {
        description: "The range",
        type: BINARY,
        headers: { ETag: "Of the content", "Content-Range": "What part it is" },
      },
    },
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
    answers: { 204: { description: "Gone" } },
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
      "With a `clientKey`, repeating it changes nothing. What is wrong with the file ends the job as `failed`.",
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
    ],
    examples: {
      quantize: {
        summary: "The paper's scheme",
        body: {
          operation: "quantize",
          source: "example.safetensors",
          result: "example-mxfp4.safetensors",
          clientKey: "example",
          options: { rounding: "stochastic", scale: "floor", prescale: 0.75 },
        },
      },
    },
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
    description: "A result that is whole stays; of another nothing does.",
    answers: { 204: { description: "Gone" } },
    errors: ["job_not_found"],
  },
];
