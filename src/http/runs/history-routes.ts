/** What becomes of a run: its metrics, its events, its parameters. */
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

/** What a checkpoint has of a run. */
const CHECKPOINT_STATES = ["parameters", "full"] as const;
const CHAINS = ["results", "authors"] as const;
const METRICS_TYPES = {
  jsonl: "application/jsonl",
  csv: "text/csv; charset=utf-8",
};

const rewindSchema = requestSchema("RewindRequest", () =>
  z.strictObject({
    step: z.int().min(0).describe("At this step or before it"),
  }),
);

export const HISTORY_ROUTES = [
  route({
    id: "getMetrics",
    method: "get",
    path: "/v1/runs/{run}/metrics",
    tag: "runs",
    access: "owner",
    summary: "A run's history, one line a step",
    description:
      "JSON lines, each a StepMetrics, or CSV with a header line; the final evaluation has the last line.",
    query: {
      format: optional(
        choice(
          ["jsonl", "csv"],
          "How lines are written; csv for `Accept: text/csv`, else jsonl unless told",
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
        // What compresses on the way would take the length along.
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
    summary: "What was told of a step, and by whom",
    description:
      "Of one that is committed, all that its `results` and `chain` in the metrics are the SHA-256 of (docs/trust.md).",
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
    summary: "The steps of which all of the state is there",
    description:
      "The run goes back to them, checkpoints are made of them, and an audit computes from them. The last is the present one. Kept are the first, and of each `snapshotSteps` the last two, and one in each 2, 4, 8 … before them.",
    answers: { 200: { description: "In order", json: statesSchema } },
    handle: async (c, { run }) =>
      json({ steps: await runStub(c.env, run).stateSteps() }),
  }),

  route({
    id: "rewindRun",
    method: "post",
    path: "/v1/runs/{run}/rewind",
    tag: "runs",
    access: "owner",
    summary: "Go back to the last step up to this of which the state is kept",
    description:
      "What was told of that step and of those after it is taken back: parameters, metrics, events, leases. The run goes on from there. One that has ended stays as it is: begin another from its checkpoint of that step, with `resume`.",
    body: { description: "How far", json: rewindSchema },
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
    summary: "What happens in a run, as server-sent events",
    description: "Each event's data is a RunEvent; the last 1,000 are kept.",
    headers: {
      "Last-Event-ID": optional(
        { ...U32, default: 0, text: "Go on after this event" },
        "invalid_number",
      ),
    },
    answers: {
      200: {
        description: "Ends with the run, or after five minutes: reconnect",
        type: "text/event-stream",
      },
      204: { description: "The run has ended, and there are no more" },
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
    summary: "The parameters as they are now, all of one step",
    description:
      "In any state of the run. `state=full` adds what the optimizer remembers, `optimizer.<moment>.<tensor>`, with which `POST /v1/runs` resumes the run: it ends in the bytes of one that was never interrupted. Metadata holds config, step and the digest of what the steps before came to. Equal configs end in equal bytes. `hf` is a tar of the directory `model` that transformers loads, whose weights are the checkpoint; `gguf` and `gguf-mxfp4` are what llama.cpp loads, with the tokenizer.",
    query: {
      format: optional(
        choice(
          CHECKPOINT_FORMATS,
          "What the parameters are written as",
          "safetensors",
        ),
      ),
      state: optional(
        choice(
          CHECKPOINT_STATES,
          "The parameters alone, or all that the run needs to go on, as safetensors",
          "parameters",
        ),
      ),
      step: optional(
        {
          ...U32,
          text: "A step of which `GET …/states` says that the state is there (default: the present one)",
        },
        "invalid_number",
      ),
      timeline: textParameter(
        "As in Content-Location: `step_gone` once the run was rewound, or another has its id",
      ),
      chain: optional(
        choice(
          CHAINS,
          "What else the metadata binds: what the steps came to; or who told so too, which differs by who trained",
          "results",
        ),
      ),
    },
    answers: {
      200: {
        description:
          "safetensors, f32, Hugging Face GPT-2 names; or as asked for",
        type: CHECKPOINT_TYPES,
        headers: {
          "Content-Length": "Bytes of the file",
          "Content-Disposition": "A name for it",
          "Content-Location":
            "Of what it is, whatever becomes of the run: asked for when a body has broken off, it says why",
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
