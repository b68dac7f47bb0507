/** Runs, and who trains them. */
import * as z from "zod";
import { AppError } from "../../api/errors.ts";
import type { PinnedDataset } from "../../api/dataset.ts";
import type { RunStatus, TrainersResponse } from "../../api/run-status.ts";
import type { Env } from "../env.ts";
import { pinModel } from "../../objects/platform/stored-model.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import {
  pinned,
  readTokenizer,
} from "../../objects/directory/stored-dataset.ts";
import { runStub } from "../../objects/run/run.ts";
import { completeConfig } from "../../training/config.ts";
import { newRunName, runRequestSchema } from "../../training/run-request.ts";
import { joinToken } from "../auth.ts";
import { REQUEST_SCHEMAS, route } from "../declaration/route.ts";
import { GONE } from "../files/stored-bytes.ts";
import { HISTORY_ROUTES } from "./history-routes.ts";
import {
  fetchStatus,
  MAX_HOSTED_TRAINERS,
  startTrainer,
} from "./hosted-trainers.ts";
import { checkHostable } from "../../training/fitting.ts";
import {
  joinTokenSchema,
  joinTokensSchema,
  runListSchema,
  runStatusSchema,
  trainersResponseSchema,
} from "./run-schemas.ts";
import { json } from "../json.ts";

runRequestSchema.register(REQUEST_SCHEMAS, { id: "RunRequest" });

const stateSchema = z
  .union([
    z.strictObject({ state: z.enum(["paused", "running", "cancelled"]) }),
    z.strictObject({
      fingerprint: z
        .string()
        .regex(/^[\x21-\x7e]{1,200}$/)
        .nullable()
        .describe(
          "What trainers must compute like, or null: like the next one that comes",
        ),
    }),
  ])
  .register(REQUEST_SCHEMAS, { id: "StateRequest" });

/** A week, and a year. */
const DEFAULT_TOKEN_MS = 7 * 24 * 60 * 60 * 1000;
const MAX_TOKEN_MS = 366 * 24 * 60 * 60 * 1000;

const tokenStateSchema = z
  .strictObject({ state: z.enum(["active", "revoked"]) })
  .register(REQUEST_SCHEMAS, { id: "TokenStateRequest" });

const trainersSchema = z
  .union([
    z.strictObject({ count: z.int().min(1).max(MAX_HOSTED_TRAINERS) }),
    z.strictObject({
      join: z.literal(true),
      expiresInMs: z
        .int()
        .min(1)
        .max(MAX_TOKEN_MS)
        .default(DEFAULT_TOKEN_MS)
        .describe("How long the token opens the run"),
    }),
  ])
  .register(REQUEST_SCHEMAS, { id: "TrainersRequest" });

export const RUN_ROUTES = [
  route({
    id: "createRun",
    method: "post",
    path: "/v1/runs",
    tag: "runs",
    access: "owner",
    summary: "Create a run and begin it",
    description:
      "With a `run` of the caller's choice, repeating it changes nothing. `from` names a folder of /v1/files with a GPT-2 of transformers, or of this edge, to go on from: config.json and weights, or the checkpoint of a run. With `resume`, the checkpoint has all state, and what is not told is as its run had it.",
    body: {
      description: "All but the dataset have defaults",
      json: runRequestSchema,
    },
    answers: {
      200: { description: "It was there before", json: runStatusSchema },
      201: { description: "Begun", json: runStatusSchema },
    },
    errors: [
      "malformed_json",
      "dataset_not_found",
      "dataset_not_ready",
      "wrong_state",
      "body_too_large",
      "invalid_config",
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

      await directory.addRun(run, dataset, Date.now());
      const { created, status } = await runStub(c.env, run).create(run, config);
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
    errors: ["run_not_found"],
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
    errors: ["run_not_found", "run_active"],
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

  route({
    id: "addTrainers",
    method: "post",
    path: "/v1/runs/{run}/trainers",
    tag: "runs",
    access: "owner",
    summary: "Start trainers here, or issue a token with which others join",
    description:
      "Each call starts new ones. A run whose trainers need more memory than an isolate has is refused: join it from Node.",
    body: { description: "One or the other", json: trainersSchema },
    answers: {
      201: {
        description: "Their names, or the token",
        json: trainersResponseSchema,
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
    async handle(c, { run, body: request }) {
      if ("join" in request) {
        const { id, expiresMs } = await runStub(c.env, run).issueToken(
          request.expiresInMs,
        );
        const token = await joinToken(c.env, run, { id, expiresMs });
        return json({ token, id, expiresMs } satisfies TrainersResponse, 201);
      }
      const status = await fetchStatus(c.env, run);
      if (!status.ok) return new Response(status.body, status);
      checkHostable((await status.json<RunStatus>()).config);
      const trainers = await Promise.all(
        Array.from({ length: request.count }, () => startTrainer(c.env, run)),
      );
      return json({ trainers } satisfies TrainersResponse, 201);
    },
  }),

  route({
    id: "listTokens",
    method: "get",
    path: "/v1/runs/{run}/tokens",
    tag: "runs",
    access: "owner",
    summary: "The run's join tokens, and who is under quarantine",
    description:
      "Without what makes them work. One that is `quarantined` told results that differ from those of others, or among themselves. The owner's trainers stand behind them when they are, without times.",
    answers: { 200: { description: "All", json: joinTokensSchema } },
    errors: ["run_not_found"],
    handle: async (c, { run }) =>
      json({ tokens: await runStub(c.env, run).tokens() }),
  }),

  route({
    id: "setTokenState",
    method: "patch",
    path: "/v1/runs/{run}/tokens/{token}",
    tag: "runs",
    access: "owner",
    summary: "Revoke a join token, or take it back",
    description:
      "Revoked, at once: what its trainers told of the present step is void. Repeating it changes nothing.",
    body: { description: "The state it shall have", json: tokenStateSchema },
    answers: { 200: { description: "The token", json: joinTokenSchema } },
    errors: [
      "malformed_json",
      "run_not_found",
      "token_not_found",
      "body_too_large",
      "invalid_config",
    ],
    examples: {
      revoke: { summary: "Nothing more of it", body: { state: "revoked" } },
    },
    handle: async (c, { run, token, body: { state } }) =>
      json(await runStub(c.env, run).setTokenState(token, state)),
  }),

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
    `Expected a dataset of the model's own byte pairs, got "${name}" of others: \`PUT /v1/datasets/${name}?tokenizer=bpe&from=FOLDER\` makes one`,
  );
}
