/** A run's history: metrics, events, states and checkpoints. */
import * as z from "zod";
import { AppError } from "../../api/errors.ts";
import { choice } from "../../api/option-kinds.ts";
import { openCheckpoint } from "../../objects/run/checkpoint-stream.ts";
import { fetchEvents, runStub } from "../../objects/run/run.ts";
import { U32 } from "../declaration/path.ts";
import { optional, textParameter } from "../declaration/parameter.ts";
import { route } from "../declaration/route.ts";
import { requestSchema } from "../declaration/schema.ts";
import {
  CHECKPOINT_FORMATS,
  CHECKPOINT_TYPES,
  exportCheckpoint,
} from "./checkpoint-formats.ts";
import { begun, declaredStream } from "./declared-stream.ts";
import { runStatusSchema } from "./run-schemas.ts";
import { statesSchema, stepRecordSchema } from "./step-schemas.ts";
import { json } from "../json.ts";
import { writtenMetrics } from "./written-metrics.ts";

/** What a checkpoint includes. */
const CHECKPOINT_STATES = ["parameters", "full"] as const;
const CHAINS = ["results", "authors"] as const;
const METRICS_TYPES = {
  jsonl: "application/jsonl",
  csv: "text/csv; charset=utf-8",
};

const rewindSchema = requestSchema("RewindRequest", () =>
  z.strictObject({
    step: z.int().min(0).describe("The latest step to rewind to"),
  }),
);

export const HISTORY_ROUTES = [
  route({
    id: "getMetrics",
    method: "get",
    path: "/v1/runs/{run}/metrics",
    tag: "runs",
    access: "owner",
    summary: "Get a run's metrics, one line per step",
    description:
      "JSON lines, each a StepMetrics, or CSV with a header line. The final evaluation is the last line.",
    query: {
      format: optional(
        choice(
          ["jsonl", "csv"],
          "Format of the lines (default: csv for `Accept: text/csv`, else jsonl)",
        ),
      ),
    },
    answers: {
      200: {
        description: "The lines",
        type: Object.values(METRICS_TYPES),
        headers: { "Content-Length": "Bytes of all lines" },
      },
    },
    examples: {
      lines: { summary: "JSON lines", query: { format: "jsonl" } },
      csv: { summary: "CSV", query: { format: "csv" } },
    },
    async handle(c, { run, format }) {
      const wantsCsv = c.req.header("Accept")?.includes("text/csv") ?? false;
      const isCsv = format === undefined ? wantsCsv : format === "csv";
      const stub = runStub(c.env, run);
      const { bytes, chunks } = await writtenMetrics(isCsv, (fromStep, limit) =>
        stub.metrics(fromStep, limit),
      );
      return c.body(declaredStream(c.executionCtx, bytes, chunks), 200, {
        "Content-Type": METRICS_TYPES[isCsv ? "csv" : "jsonl"],
        "Content-Length": String(bytes),
        // Compression on the way would remove the length.
        "Cache-Control": "no-store, no-transform",
      });
    },
  }),

  route({
    id: "getStep",
    method: "get",
    path: "/v1/runs/{run}/steps/{step}",
    tag: "runs",
    access: "owner",
    summary: "Get the results of a step's microbatches, with their authors",
    description:
      "For a committed step, contains everything that the digests `results` and `chain` in its metrics cover (docs/trust.md).",
    answers: { 200: { description: "The step", json: stepRecordSchema } },
    errors: ["future_step"],
    handle: async (c, { run, step }) =>
      json(await runStub(c.env, run).stepRecord(step)),
  }),

  route({
    id: "listStates",
    method: "get",
    path: "/v1/runs/{run}/states",
    tag: "runs",
    access: "owner",
    summary: "List the steps whose full state is kept",
    description:
      "The run can be rewound to them, checkpoints can be made of them, and audits start from them. The last one is the present step. Kept are the first step and, of the multiples of `snapshotSteps`, the last two, and one in each 2, 4, 8 … before them.",
    answers: { 200: { description: "The steps in order", json: statesSchema } },
    handle: async (c, { run }) =>
      json({ steps: await runStub(c.env, run).stateSteps() }),
  }),

  route({
    id: "rewindRun",
    method: "post",
    path: "/v1/runs/{run}/rewind",
    tag: "runs",
    access: "owner",
    summary: "Rewind a run to the last step up to `step` whose state is kept",
    description:
      "Parameters, metrics, events and leases of that step and later ones are discarded, and the run continues from there. A run that has ended cannot be rewound: create another one from its checkpoint of that step, with `resume`.",
    body: { description: "The step", json: rewindSchema },
    answers: { 200: { description: "The run", json: runStatusSchema } },
    errors: ["wrong_state", "future_step", "step_gone"],
    examples: { start: { summary: "To the start", body: { step: 0 } } },
    handle: async (c, { run, body: { step } }) =>
      json(await runStub(c.env, run).rewind(step)),
  }),

  route({
    id: "getEvents",
    method: "get",
    path: "/v1/runs/{run}/events",
    tag: "runs",
    access: "owner",
    summary: "Stream a run's events, as server-sent events",
    description:
      "Each event's data is a RunEvent. The latest events of each kind are kept, at most 1,000.",
    headers: {
      "Last-Event-ID": optional(
        { ...U32, default: 0, text: "Continue after this event" },
        "invalid_number",
      ),
    },
    answers: {
      200: {
        description:
          "The stream ends with the run, or after five minutes; then reconnect",
        type: "text/event-stream",
      },
      204: { description: "The run has ended, and there are no more events" },
    },
    errors: ["invalid_number"],
    examples: {
      start: { summary: "From the start", headers: { "Last-Event-ID": "0" } },
    },
    async handle(c, { run, "Last-Event-ID": last }) {
      const response = await fetchEvents(c.env, run, last);
      if (response.status === 404) {
        throw new AppError(
          "run_not_found",
          `Expected the id of a run, got "${run}"`,
        );
      }
      return new Response(response.body, response);
    },
  }),

  route({
    id: "getCheckpoint",
    method: "get",
    path: "/v1/runs/{run}/checkpoint",
    tag: "runs",
    access: "owner",
    summary:
      "Download a run's checkpoint: its parameters at one step, by default the present one",
    description:
      "Possible in any state of the run. `state=full` adds the optimizer state, `optimizer.<moment>.<tensor>`, with which `POST /v1/runs` can resume the run; it then ends in the bytes of a run that was never interrupted. The metadata contains config, step and the digest of the preceding results. Equal configs give equal bytes. `hf` is a tar of a directory `model` for transformers, whose weights file is the checkpoint; `gguf` and `gguf-mxfp4` are for llama.cpp, with the tokenizer.",
    query: {
      format: optional(
        choice(CHECKPOINT_FORMATS, "Format of the parameters", "safetensors"),
      ),
      state: optional(
        choice(
          CHECKPOINT_STATES,
          "The parameters only, or the full state needed to resume the run (safetensors only)",
          "parameters",
        ),
      ),
      step: optional(
        {
          ...U32,
          text: "A step listed by `GET …/states` (default: the present one)",
        },
        "invalid_number",
      ),
      timeline: textParameter(
        "As in Content-Location: `step_gone` once the run was rewound, or replaced by another with its id",
      ),
      chain: optional(
        choice(
          CHAINS,
          "Digest in the metadata: over the steps' results; or also over their authors, which depends on who trained",
          "results",
        ),
      ),
    },
    answers: {
      200: {
        description:
          "safetensors, f32, with Hugging Face names; or the requested format",
        type: CHECKPOINT_TYPES,
        headers: {
          "Content-Length": "Bytes of the file",
          "Content-Disposition": "A name for it",
          "Content-Location":
            "URL of exactly this checkpoint; if the body broke off, requesting it tells why",
        },
      },
    },
    errors: ["invalid_number", "future_step", "step_gone"],
    examples: {
      file: { summary: "safetensors" },
      folder: { summary: "A directory in a tar", query: { format: "hf" } },
    },
    async handle(c, { run, format, state, step: asked, timeline, chain }) {
      if (state === "full" && format !== "safetensors") {
        throw new AppError(
          "invalid_option",
          `Expected \`state=full\` with \`format=safetensors\`, got ${format}, which has parameters only`,
        );
      }
      const isFull = state === "full";
      const opened = await openCheckpoint(c.env, run, {
        isFull,
        step: asked,
        timeline,
        hasChain: chain === "authors",
      });
      const { step, folder, hasRead } = opened;
      const { bytes, ending, type, chunks } = await exportCheckpoint(
        folder,
        format,
      );
      const body = await begun(chunks, hasRead);
      const location = new URL(c.req.url);
      location.searchParams.set("step", String(step));
      location.searchParams.set("timeline", opened.timeline);
      return c.body(declaredStream(c.executionCtx, bytes, body), 200, {
        "Content-Type": type,
        "Content-Location": location.pathname + location.search,
        "Content-Length": String(bytes),
        "Content-Disposition": `attachment; filename="${run}-step-${step}.${ending}"`,
        "Cache-Control": "no-store",
      });
    },
  }),
];
