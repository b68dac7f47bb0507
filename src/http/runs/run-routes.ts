/** Runs: made, found, paused, ended, removed. */
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
          "What trainers must compute like, or null: like the next one that comes",
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
    summary: "Create a run and begin it",
    description:
      "With a `run` of the caller's choice, repeating it changes nothing. `from` names a folder of /v1/files with a GPT-2 of transformers, or of this edge, to go on from: config.json and weights, a GGUF alone, or the checkpoint of a run. With `resume`, the checkpoint has all state, and what is not told is as its run had it.",
    body: {
      description: "All but the dataset have defaults",
      json: runRequest,
    },
    answers: {
      200: { description: "It was there before", json: runStatusSchema },
      201: { description: "Begun", json: runStatusSchema },
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
    summary: "The runs that exist, the latest first",
    answers: { 200: { description: "At most 1,000", json: runListSchema } },
    handle: async (c) => json({ runs: await directoryStub(c.env).runs() }),
  }),

  route({
    id: "getRun",
    method: "get",
    path: "/v1/runs/{run}",
    tag: "runs",
    access: "trainer",
    summary: "A run's config and where it is",
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
    summary:
      "Pause a run, let it go on, or cancel it; or say what its trainers compute like",
    description:
      "With another fingerprint, the present step is computed again. Repeating it changes nothing. Paused: no new leases; what is under way is still taken.",
    body: {
      description: "The state, or the fingerprint, that it shall have",
      json: stateSchema,
    },
    answers: { 200: { description: "The run", json: runStatusSchema } },
    errors: ["wrong_state"],
    examples: {
      pause: { summary: "No new leases", body: { state: "paused" } },
      resume: { summary: "On again", body: { state: "running" } },
      cancel: { summary: "For good", body: { state: "cancelled" } },
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
    summary: "Remove a run that has ended, its parameters and its history",
    answers: GONE,
    errors: ["run_active"],
    async handle(c, { run }) {
      try {
        await runStub(c.env, run).remove();
      } catch (error) {
        // A creation that was interrupted leaves an entry without a run: that goes too.
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

/** The ids of a text mean what those of the model do. Errors: `invalid_config` */
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
