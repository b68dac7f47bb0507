/** A run's trainers: those hosted by this Worker, and tokens with which others join. */
import * as z from "zod";
import {
  MAX_HOSTED_TRAINERS,
  type TrainersResponse,
} from "../../api/run-status.ts";
import { runStub } from "../../objects/run/run.ts";
import { checkHostable } from "../../training/fitting.ts";
import { joinToken } from "../auth.ts";
import { route } from "../declaration/route.ts";
import { json } from "../json.ts";
import { fetchStatus, startTrainer } from "./hosted-trainers.ts";
import {
  joinTokenSchema,
  joinTokensSchema,
  trainersResponseSchema,
} from "./run-schemas.ts";
import { requestSchema } from "../declaration/schema.ts";

/** A week, and a year. */
const DEFAULT_TOKEN_MS = 7 * 24 * 60 * 60 * 1000;
const MAX_TOKEN_MS = 366 * 24 * 60 * 60 * 1000;

const tokenStateSchema = requestSchema("TokenStateRequest", () =>
  z.strictObject({ state: z.enum(["active", "revoked"]) }),
);

const trainersSchema = requestSchema("TrainersRequest", () =>
  z.union([
    z.strictObject({ count: z.int().min(1).max(MAX_HOSTED_TRAINERS) }),
    z.strictObject({
      join: z.literal(true),
      expiresInMs: z
        .int()
        .min(1)
        .max(MAX_TOKEN_MS)
        .default(DEFAULT_TOKEN_MS)
        .describe("How long the token is valid"),
    }),
  ]),
);

export const ROSTER_ROUTES = [
  route({
    id: "addTrainers",
    method: "post",
    path: "/v1/runs/{run}/trainers",
    tag: "runs",
    access: "owner",
    summary: "Start edge trainers, or issue a join token for others",
    description:
      "Each call starts new trainers. If a trainer of the run needs more memory than an isolate has, the request is refused; join the run from Node instead.",
    body: { description: "Either `count` or `join`", json: trainersSchema },
    answers: {
      201: {
        description: "The trainers' names, or the token",
        json: trainersResponseSchema,
      },
    },
    examples: {
      join: { summary: "A join token", body: { join: true } },
      hosted: { summary: "One edge trainer", body: { count: 1 } },
    },
    async handle(c, { run, body: request }) {
      if ("join" in request) {
        const { id, expiresMs } = await runStub(c.env, run).issueToken(
          request.expiresInMs,
        );
        const token = await joinToken(c.env, run, { id, expiresMs });
        return json({ token, id, expiresMs } satisfies TrainersResponse, 201);
      }
      const { config } = await fetchStatus(c.env, run);
      checkHostable(config);
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
    summary: "List a run's join tokens, and quarantined authors",
    description:
      "Only ids and states, not the tokens themselves. A `quarantined` author reported results that differ from those of others, or from each other. Quarantined trainers of the owner are listed after the tokens, without times.",
    answers: { 200: { description: "All tokens", json: joinTokensSchema } },
    handle: async (c, { run }) =>
      json({ tokens: await runStub(c.env, run).tokens() }),
  }),

  route({
    id: "setTokenState",
    method: "patch",
    path: "/v1/runs/{run}/tokens/{token}",
    tag: "runs",
    access: "owner",
    summary: "Revoke or reinstate a join token",
    description:
      "Revoking takes effect at once: its trainers' results of the present step are void. Idempotent.",
    body: { description: "The new state", json: tokenStateSchema },
    answers: { 200: { description: "The token", json: joinTokenSchema } },
    errors: ["wrong_state"],
    examples: {
      revoke: { summary: "Revoke", body: { state: "revoked" } },
    },
    handle: async (c, { run, token, body: { state } }) =>
      json(await runStub(c.env, run).setTokenState(token, state)),
  }),
];
