/** Runs: create, list, pause, end, delete. */
import * as z from "zod";
import { AppError } from "../../api/errors.ts";
import { FINGERPRINT } from "../../api/text-rules.ts";
import type { PinnedDataset } from "../../api/dataset.ts";
import type { Env } from "../env.ts";
import { pinModel } from "../../objects/platform/stored-model.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import {
  pinned,
  readTokenizer,
} from "../../objects/directory/stored-dataset.ts";
import { runStub } from "../../objects/run/run.ts";
import { completeConfig } from "../../training/config.ts";
import {
  ruled,
  newRunName,
  runRequestSchema,
} from "../../training/run-request.ts";
import { route } from "../declaration/route.ts";
import { GONE } from "../files/stored-bytes.ts";
import { HISTORY_ROUTES } from "./history-routes.ts";
import { json } from "../json.ts";
import { ROSTER_ROUTES } from "./roster-routes.ts";
import { runListSchema, runStatusSchema } from "./run-schemas.ts";
import { requestSchema } from "../declaration/schema.ts";

const runRequest = requestSchema("RunRequest", runRequestSchema);

const stateSchema = requestSchema("StateRequest", () =>
  z.union([
    z.strictObject({ state: z.enum(["paused", "running", "cancelled"]) }),
    z.strictObject({
      fingerprint: ruled(FINGERPRINT)
        .nullable()
        .describe(
          "The fingerprint that trainers must have; null to take that of the next trainer",
        ),
    }),
  ]),
);

export const RUN_ROUTES = [
  route({
    id: "createRun",
    method: "post",
    path: "/v1/runs",
    tag: "runs",
    access: "owner",
    summary: "Create and start a run",
    description:
      "Idempotent if `run` is given. `from` names a folder of /v1/files with a model to start from: config.json and weights as in transformers, a single GGUF, or a run's checkpoint. With `resume`, it must be a `state=full` checkpoint, and options that are left out are those of its run.",
    body: {
      description: "All fields except `dataset` have defaults",
      json: runRequest,
    },
    answers: {
      200: { description: "It already existed", json: runStatusSchema },
      201: { description: "Created", json: runStatusSchema },
    },
    errors: [
      "dataset_not_found",
      "dataset_not_ready",
      "wrong_state",
      "file_not_found",
      "file_changed",
      "malformed_body",
      "shape_mismatch",
      "unsupported_dtype",
    ],
    examples: {
      small: {
        summary: "A model of one layer",
        body: {
          run: "example",
          name: "One layer",
          dataset: "example",
          model: { layers: 1, width: 64, heads: 1, context: 64 },
          steps: 100,
          sequences: 1,
          microbatches: 2,
          shards: 2,
        },
      },
    },
    async handle(c, { body: request }) {
      const directory = directoryStub(c.env);
      const dataset = pinned(await directory.dataset(request.dataset));
      const imported =
        request.from === undefined
          ? undefined
          : await pinModel(c.env.BUCKET, request.from);
      if (imported?.tokenizer !== undefined)
        await checkTokenizer(c.env, dataset, imported.tokenizer);
      const config = completeConfig(request, dataset, imported);
      const run = request.run ?? newRunName();

      const { name = null } = request;
      await directory.addRun(run, name, dataset, Date.now());
      const { created, status } = await runStub(c.env, run).create(
        run,
        name,
        config,
      );
      return json(status, created ? 201 : 200);
    },
  }),

  route({
    id: "listRuns",
    method: "get",
    path: "/v1/runs",
    tag: "runs",
    access: "owner",
    summary: "List the runs, newest first",
    answers: { 200: { description: "At most 1,000", json: runListSchema } },
    handle: async (c) => json({ runs: await directoryStub(c.env).runs() }),
  }),

  route({
    id: "getRun",
    method: "get",
    path: "/v1/runs/{run}",
    tag: "runs",
    access: "trainer",
    summary: "Get a run: config, state, progress, trainers",
    answers: { 200: { description: "The run", json: runStatusSchema } },
    handle: async (c, { run }) =>
      json(await runStub(c.env, run).status(c.get("caller"))),
  }),

  route({
    id: "setRunState",
    method: "patch",
    path: "/v1/runs/{run}",
    tag: "runs",
    access: "owner",
    summary: "Pause, resume or cancel a run, or set its fingerprint",
    description:
      "Idempotent. A paused run gives out no new leases, but accepts results under way. If the fingerprint changes, the present step is computed again.",
    body: {
      description: "The new state, or the new fingerprint",
      json: stateSchema,
    },
    answers: { 200: { description: "The run", json: runStatusSchema } },
    errors: ["wrong_state"],
    examples: {
      pause: { summary: "Pause", body: { state: "paused" } },
      resume: { summary: "Resume", body: { state: "running" } },
      cancel: { summary: "Cancel", body: { state: "cancelled" } },
    },
    handle: async (c, { run, body: request }) =>
      json(
        "state" in request
          ? await runStub(c.env, run).setState(request.state)
          : await runStub(c.env, run).setFingerprint(request.fingerprint),
      ),
  }),

  route({
    id: "deleteRun",
    method: "delete",
    path: "/v1/runs/{run}",
    tag: "runs",
    access: "owner",
    summary: "Delete a run that has ended, with its parameters and history",
    answers: GONE,
    errors: ["run_active"],
    async handle(c, { run }) {
      try {
        await runStub(c.env, run).remove();
      } catch (error) {
        // An interrupted creation leaves a directory entry without a run, which is removed too.
        if (error instanceof AppError && error.code === "run_not_found") {
          await directoryStub(c.env).removeRun(run);
        }
        throw error;
      }
      return c.body(null, 204);
    },
  }),

  ...ROSTER_ROUTES,
  ...HISTORY_ROUTES,
];

/** The text's ids must be those of the model's tokenizer. Errors: `invalid_config` */
async function checkTokenizer(
  env: Env,
  { name }: PinnedDataset,
  tokenizer: string,
): Promise<void> {
  const stored = await directoryStub(env).dataset(name);
  const own = await readTokenizer(env.BUCKET, stored);
  if (own === tokenizer) return;
  throw new AppError(
    "invalid_config",
    `Expected a dataset tokenized by the model's own tokenizer, got "${name}", tokenized by another: \`PUT /v1/datasets/NAME?tokenizer=bpe&from=FOLDER\` creates one`,
  );
}
