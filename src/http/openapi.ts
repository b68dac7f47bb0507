/**
 * The API's description, OpenAPI 3.1: one entry a route. Schemas of requests are those that the routes
 * check with. Tests hold it to the routes: every route is here, every example is answered as it says.
 */
import * as z from "zod";
import { runRequestSchema } from "../training/config.ts";
import { jobRequestSchema } from "./jobs/job-request.ts";
import { FILE_OPERATIONS, JOB_OPERATIONS } from "./jobs/openapi-jobs.ts";
import {
  describeOperation,
  type Operation,
  type PathParameters,
  reference,
} from "./openapi-operation.ts";
import { ANSWER_SCHEMAS } from "./openapi-schemas.ts";
import { TENSOR_OPERATIONS } from "./tensors/openapi-tensors.ts";
import { DATASET_OPERATIONS, RUN_OPERATIONS } from "./runs/openapi-training.ts";
import {
  completionSchema,
  leaseSchema,
  stateSchema,
  trainersSchema,
} from "./runs/run-routes.ts";

const REQUEST_SCHEMAS = {
  RunRequest: runRequestSchema,
  StateRequest: stateSchema,
  TrainersRequest: trainersSchema,
  LeaseRequest: leaseSchema,
  Completion: completionSchema,
  JobRequest: jobRequestSchema,
};

const number = { type: "integer", minimum: 0, maximum: 2 ** 32 - 1 };
const name = { type: "string", pattern: "^[A-Za-z0-9._-]{1,64}$" };

const PATH_PARAMETERS: PathParameters = {
  name: { description: "Of a dataset", schema: name, example: "example" },
  file: {
    description: "Its name",
    schema: name,
    example: "example.safetensors",
  },
  job: { description: "Its id", schema: name, example: "example" },
  run: {
    description: "Its id",
    schema: { type: "string" },
    example: "example",
  },
  kind: {
    description: "Of the lease",
    schema: { enum: ["train", "eval"] },
    example: "eval",
  },
  step: { description: "Of the lease", schema: number, example: 0 },
  index: { description: "Of the lease", schema: number, example: 0 },
  shard: { description: "From 0", schema: number, example: 0 },
  microbatch: { description: "Of the lease", schema: number, example: 0 },
};

const HEALTH: Operation = {
  id: "health",
  method: "get",
  path: "/healthz",
  tag: "service",
  summary: "Whether the Worker answers",
  isOpen: true,
  answers: { 200: { description: "It does", json: "Health" } },
};

const DESCRIPTION: Operation = {
  id: "description",
  method: "get",
  path: "/openapi.json",
  tag: "service",
  summary: "This document",
  isOpen: true,
  answers: { 200: { description: "OpenAPI 3.1", type: "application/json" } },
};

export const OPERATIONS: readonly Operation[] = [
  HEALTH,
  DESCRIPTION,
  ...TENSOR_OPERATIONS,
  ...FILE_OPERATIONS,
  ...JOB_OPERATIONS,
  ...DATASET_OPERATIONS,
  ...RUN_OPERATIONS,
];

let document: string | undefined;

/** The document as JSON, made when first asked for. */
export function openApiJson(): string {
  return (document ??= JSON.stringify(describe()));
}

function describe(): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const operation of OPERATIONS) {
    (paths[operation.path] ??= {})[operation.method] = describeOperation(
      operation,
      PATH_PARAMETERS,
    );
  }
  return {
    openapi: "3.1.1",
    info: {
      title: "mxfp4-edge",
      version: "1",
      description:
        "MXFP4 quantization, and training of small GPTs with 4-bit gradients. Examples are named: the parameters and the body that bear one name make one request.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    security: [{ token: [] }],
    tags: [...new Set(OPERATIONS.map(({ tag }) => tag))].map((tag) => ({
      name: tag,
    })),
    paths,
    components: {
      securitySchemes: {
        token: {
          type: "http",
          scheme: "bearer",
          description:
            "API_TOKEN, or a run's join token on its trainers' routes. A local edge without API_TOKEN needs none",
        },
      },
      schemas: {
        ...toJsonSchemas(REQUEST_SCHEMAS, "input"),
        ...toJsonSchemas(ANSWER_SCHEMAS, "output"),
      },
      responses: {
        Problem: {
          description: "What was expected and what came, or a bare 500",
          content: {
            "application/problem+json": { schema: reference("Problem") },
          },
        },
      },
    },
  };
}

/** Schemas that refer to each other by the names they have here. */
function toJsonSchemas(
  schemas: Record<string, z.ZodType>,
  io: "input" | "output",
): object {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(schemas)) {
    registry.add(schema, { id });
  }
  const uri = (id: string) => `#/components/schemas/${id}`;
  const converted = z.toJSONSchema(registry, { io, uri });
  const entries = Object.entries(converted.schemas).map(
    // The places of the schemas name them.
    ([id, { $id: _id, $schema: _schema, ...schema }]) => [id, schema],
  );
  return Object.fromEntries(entries) as object;
}
