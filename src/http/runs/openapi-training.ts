/** The operations on datasets and runs, described. */
import {
  BINARY,
  GONE,
  RANGE,
  rangedAnswers,
  UPLOAD_ERRORS,
} from "../files/openapi-bytes.ts";
import type { Operation, Parameter } from "../openapi-operation.ts";

/** Small enough that an example's run is over in a second. */
const text =
  "It was the best of times, it was the worst of times, it was the age of wisdom. ".repeat(
    20,
  );

const trainer = { trainer: "example", bootId: "1" };

export const DATASET_OPERATIONS: Operation[] = [
  {
    id: "putDataset",
    method: "put",
    path: "/v1/datasets/{name}",
    tag: "datasets",
    summary: "Store a corpus under a name: its bytes are its tokens",
    description: "Repeating it changes nothing.",
    body: { description: "The text, 1 byte to 100 MiB, with Content-Length" },
    answers: {
      200: { description: "It was there before", json: "Dataset" },
      201: { description: "Stored", json: "Dataset" },
    },
    errors: [...UPLOAD_ERRORS, "dataset_differs", "unavailable"],
    examples: {
      text: {
        summary: "A text in English",
        body: new TextEncoder().encode(text),
      },
    },
  },
  {
    id: "getDataset",
    method: "get",
    path: "/v1/datasets/{name}",
    tag: "datasets",
    summary: "What a corpus is",
    answers: { 200: { description: "The dataset", json: "Dataset" } },
    errors: ["dataset_not_found", "invalid_name"],
  },
  {
    id: "getTokens",
    method: "get",
    path: "/v1/datasets/{name}/tokens",
    tag: "datasets",
    summary: "Token ids of a corpus, one byte each",
    parameters: [RANGE],
    answers: rangedAnswers("The digest"),
    errors: ["dataset_not_found", "range_not_satisfiable", "invalid_name"],
    examples: {
      window: {
        summary: "A window of 16 tokens",
        headers: { Range: "bytes=16-31" },
      },
      all: { summary: "Everything" },
    },
  },
  {
    id: "deleteDataset",
    method: "delete",
    path: "/v1/datasets/{name}",
    tag: "datasets",
    summary: "Remove a corpus that no unfinished run uses",
    answers: GONE,
    errors: ["dataset_not_found", "dataset_in_use", "invalid_name"],
  },
];

const step: Parameter = {
  name: "step",
  in: "query",
  description: "That of the lease",
  schema: { type: "integer", minimum: 0, maximum: 2 ** 32 - 1 },
};

export const RUN_OPERATIONS: Operation[] = [
  {
    id: "createRun",
    method: "post",
    path: "/v1/runs",
    tag: "runs",
    summary: "Create a run and begin it",
    description:
      "With a `run` of the caller's choice, repeating it changes nothing.",
    body: {
      description: "All but the dataset have defaults",
      json: "RunRequest",
    },
    answers: {
      200: { description: "It was there before", json: "RunStatus" },
      201: { description: "Begun", json: "RunStatus" },
    },
    errors: [
      "malformed_json",
      "dataset_not_found",
      "wrong_state",
      "body_too_large",
      "invalid_config",
    ],
    examples: {
      small: {
        summary: "A model of one layer",
        body: {
          run: "example",
          dataset: "example",
          model: { layers: 1, width: 64, heads: 1, context: 64 },
          steps: 100,
          sequences: 1,
          microbatches: 2,
          shards: 2,
        },
      },
    },
  },
  {
    id: "listRuns",
    method: "get",
    path: "/v1/runs",
    tag: "runs",
    summary: "The runs that exist, the latest first",
    answers: { 200: { description: "At most 1,000", json: "RunList" } },
  },
  {
    id: "getRun",
    method: "get",
    path: "/v1/runs/{run}",
    tag: "runs",
    summary: "A run's config and where it is",
    answers: { 200: { description: "The run", json: "RunStatus" } },
    errors: ["run_not_found"],
  },
  {
    id: "setRunState",
    method: "patch",
    path: "/v1/runs/{run}",
    tag: "runs",
    summary: "Pause a run, let it go on, or cancel it",
    body: { description: "The state it shall have", json: "StateRequest" },
    answers: { 200: { description: "The run", json: "RunStatus" } },
    errors: [
      "malformed_json",
      "run_not_found",
      "wrong_state",
      "body_too_large",
      "invalid_config",
    ],
    examples: {
      pause: { summary: "No new leases", body: { state: "paused" } },
      resume: { summary: "On again", body: { state: "running" } },
      cancel: { summary: "For good", body: { state: "cancelled" } },
    },
  },
  {
    id: "deleteRun",
    method: "delete",
    path: "/v1/runs/{run}",
    tag: "runs",
    summary: "Remove a run that has ended",
    answers: GONE,
    errors: ["run_not_found", "run_active"],
  },
  {
    id: "addTrainers",
    method: "post",
    path: "/v1/runs/{run}/trainers",
    tag: "runs",
    summary: "Start trainers here, or issue a token with which others join",
    body: { description: "One or the other", json: "TrainersRequest" },
    answers: {
      201: {
        description: "Their names, or the token",
        json: "TrainersResponse",
      },
    },
    errors: [
      "malformed_json",
      "run_not_found",
      "body_too_large",
      "invalid_config",
    ],
    examples: {
      join: { summary: "For a trainer elsewhere", body: { join: true } },
      hosted: { summary: "One of this Worker's own", body: { count: 1 } },
    },
  },
  {
    id: "takeLease",
    method: "post",
    path: "/v1/runs/{run}/leases",
    tag: "trainers",
    summary: "Take a lease: the right to compute one microbatch",
    description: "Waits up to 10 seconds; `lease` is null when there was none.",
    body: { description: "Who asks", json: "LeaseRequest" },
    answers: { 200: { description: "The lease", json: "LeaseResponse" } },
    errors: [
      "malformed_json",
      "run_not_found",
      "fingerprint_differs",
      "body_too_large",
      "invalid_config",
    ],
    examples: {
      first: {
        summary: "The first lease of a trainer",
        body: { ...trainer, fingerprint: "example" },
      },
    },
  },
  {
    id: "completeLease",
    method: "put",
    path: "/v1/runs/{run}/leases/{kind}/{step}/{index}",
    tag: "trainers",
    summary: "Complete a lease, once every shard has the gradient",
    description:
      "Repeating it changes nothing. The answer bears the next lease.",
    body: {
      description: "Sums over the microbatch; a loss in nats",
      json: "Completion",
    },
    answers: {
      200: { description: "Taken", json: "CompletionResponse" },
    },
    errors: [
      "malformed_json",
      "run_not_found",
      "different_completion",
      "future_step",
      "wrong_state",
      "step_gone",
      "run_ended",
      "body_too_large",
      "invalid_config",
      "invalid_number",
      "invalid_option",
    ],
    examples: {
      evaluated: {
        summary: "A microbatch of 64 tokens",
        body: { ...trainer, lossSum: 355, tokens: 64 },
      },
    },
  },
  {
    id: "pullParameters",
    method: "get",
    path: "/v1/runs/{run}/shards/{shard}/parameters",
    tag: "trainers",
    summary: "A shard's parameters at one step",
    parameters: [step],
    answers: {
      200: { description: "A frame (src/api/frame.ts)", type: BINARY },
    },
    errors: [
      "run_not_found",
      "shard_not_found",
      "step_gone",
      "invalid_number",
      "invalid_option",
      "step_not_reached",
    ],
    examples: {
      start: { summary: "As they were initialized", query: { step: 0 } },
    },
  },
  {
    id: "pushGradient",
    method: "put",
    path: "/v1/runs/{run}/shards/{shard}/gradients/{step}/{microbatch}",
    tag: "trainers",
    summary: "Push one microbatch's gradient for one shard",
    description: "Repeating it changes nothing.",
    body: {
      description: "A frame (src/api/frame.ts) of the run's gradient dtype",
    },
    answers: {
      200: { description: "The same bytes were here", json: "PushResponse" },
      201: { description: "Stored on disk", json: "PushResponse" },
    },
    errors: [
      "malformed_body",
      "malformed_frame",
      "digest_mismatch",
      "run_not_found",
      "shard_not_found",
      "future_step",
      "different_bytes",
      "step_gone",
      "run_ended",
      "body_too_large",
      "shape_mismatch",
      "unsupported_dtype",
      "invalid_number",
    ],
  },
  {
    id: "getMetrics",
    method: "get",
    path: "/v1/runs/{run}/metrics",
    tag: "runs",
    summary: "A run's history, one line a step",
    description: "JSON lines, each a StepMetrics; CSV for `Accept: text/csv`.",
    parameters: [
      {
        name: "format",
        in: "query",
        description: "How lines are written",
        schema: { enum: ["jsonl", "csv"], default: "jsonl" },
      },
    ],
    answers: {
      200: { description: "The lines", type: "application/jsonl" },
    },
    errors: ["run_not_found", "invalid_option"],
    examples: {
      lines: { summary: "JSON lines", query: { format: "jsonl" } },
    },
  },
  {
    id: "getEvents",
    method: "get",
    path: "/v1/runs/{run}/events",
    tag: "runs",
    summary: "What happens in a run, as server-sent events",
    parameters: [
      {
        name: "Last-Event-ID",
        in: "header",
        description: "Go on after this event",
        schema: { type: "integer", minimum: 0, default: 0 },
      },
    ],
    answers: {
      200: {
        description: "Ends with the run, or after five minutes: reconnect",
        type: "text/event-stream",
      },
      204: { description: "The run has ended, and there are no more" },
    },
    errors: ["run_not_found", "invalid_number"],
    examples: {
      start: { summary: "From the start", headers: { "Last-Event-ID": "0" } },
    },
  },
  {
    id: "getCheckpoint",
    method: "get",
    path: "/v1/runs/{run}/checkpoint",
    tag: "runs",
    summary: "The parameters as they are now, all of one step",
    answers: {
      200: {
        description: "safetensors, f32, Hugging Face GPT-2 names",
        type: BINARY,
        headers: {
          "Content-Length": "Bytes of the file",
          "Content-Disposition": "A name for it",
        },
      },
    },
    errors: ["run_not_found"],
  },
];
