/** Who trains a run: trainers of this Worker, and the tokens with which others join. */
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
        .describe("How long the token opens the run"),
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
    summary: "The run's join tokens, and who is under quarantine",
    description:
      "Without what makes them work. One that is `quarantined` told results that differ from those of others, or among themselves. The owner's trainers stand behind them when they are, without times.",
    answers: { 200: { description: "All", json: joinTokensSchema } },
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
    errors: ["wrong_state"],
    examples: {
      revoke: { summary: "Nothing more of it", body: { state: "revoked" } },
    },
    handle: async (c, { run, token, body: { state } }) =>
      json(await runStub(c.env, run).setTokenState(token, state)),
  }),
];
