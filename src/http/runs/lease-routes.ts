/** A trainer's leases: take, complete, leave. */
import * as z from "zod";
import { once } from "../../api/once.ts";
import { HOST_KINDS } from "../../api/run-status.ts";
import { runStub } from "../../objects/run/run.ts";
import { DIGEST, FINGERPRINT, NAME } from "../../api/text-rules.ts";
import { ruled } from "../../training/run-request.ts";
import { MAX_SHARDS } from "../../training/sharding.ts";
import { type Parameter, textParameter } from "../declaration/parameter.ts";
import { named } from "../declaration/path.ts";
import { route } from "../declaration/route.ts";
import { GONE } from "../files/stored-bytes.ts";
import { json } from "../json.ts";
import {
  completionResponseSchema,
  leaseResponseSchema,
} from "./lease-schemas.ts";
import { requestSchema } from "../declaration/schema.ts";

const name = once(() => ruled(NAME));

const ahead = once(() =>
  z
    .boolean()
    .optional()
    .describe(
      "Ask for a second lease, to be computed while the result of the first is being sent",
    ),
);

const leaseSchema = requestSchema("LeaseRequest", () =>
  z.strictObject({
    trainer: name(),
    bootId: name(),
    fingerprint: ruled(FINGERPRINT),
    host: z
      .enum(HOST_KINDS)
      .optional()
      .describe("The kind of host; only shown in the list of trainers"),
    ahead: ahead(),
  }),
);

const digests = once(() => z.array(ruled(DIGEST)).max(MAX_SHARDS));

const ms = once(() => z.number().min(0).max(1e12));
const frameBytes = once(() => z.int().min(0).max(1e12));

const phasesSchema = once(() =>
  z.strictObject({
    leaseMs: ms().describe("Time waiting for the lease"),
    pullMs: ms().describe("Time waiting for parameters and tokens"),
    computeMs: ms(),
    pushMs: ms().describe(
      "Time waiting for all shards to acknowledge the gradient, while nothing else was computed",
    ),
    pulledBytes: frameBytes(),
    pushedBytes: frameBytes(),
  }),
);

const completionSchema = requestSchema("Completion", () =>
  z.strictObject({
    trainer: name(),
    bootId: name(),
    lossSum: z.number().nullable(),
    tokens: z.int().min(0).max(1e9),
    bytes: z
      .int()
      .min(0)
      .max(1e12)
      .optional()
      .describe("Bytes of the tokens' text; required unless tokens are bytes"),
    digests: digests()
      .optional()
      .describe(
        "For a training microbatch: the SHA-256 of each shard's frame, as in its header",
      ),
    phases: phasesSchema()
      .optional()
      .describe("Only for the metrics; no result depends on it"),
    ahead: ahead(),
  }),
);

export const LEASE_KEY: Parameter<string | undefined> = {
  ...textParameter("`key` of the caller's lease", /^[\x21-\x7e]+$/),
  // An invalid key is treated as missing.
  read: (text = "") => (/^[\x21-\x7e]{1,200}$/.test(text) ? text : undefined),
};

const exampleTrainer = { trainer: "example", bootId: "1" };

export const LEASE_ROUTES = [
  route({
    id: "takeLease",
    method: "post",
    path: "/v1/runs/{run}/leases",
    tag: "trainers",
    access: "trainer",
    summary: "Take a lease: the right to compute one microbatch",
    description:
      "A trainer holds one lease at a time, and with `ahead` a second one; asking again returns the same. Waits up to 10 seconds; `lease` is null if there was none.",
    body: { description: "The trainer", json: leaseSchema },
    answers: { 200: { description: "The lease", json: leaseResponseSchema } },
    errors: ["fingerprint_differs"],
    examples: {
      first: {
        summary: "The first lease of a trainer",
        body: { ...exampleTrainer, fingerprint: "example" },
      },
    },
    handle: async (c, { run, body }) =>
      json(await runStub(c.env, run).lease(c.get("caller"), body)),
  }),

  route({
    id: "completeLease",
    method: "put",
    path: "/v1/runs/{run}/leases/{kind}/{step}/{index}",
    tag: "trainers",
    access: "trainer",
    summary:
      "Complete a lease, after every shard has acknowledged the gradient",
    description:
      "Idempotent. The response contains the next lease. If the result differs from another author's, the microbatch is computed again; if it differs from the caller's own earlier result or from what was committed, the error is `different_completion`.",
    headers: { "Lease-Key": LEASE_KEY },
    body: {
      description:
        "Sums over the microbatch; the loss in nats, null if not finite",
      json: completionSchema,
    },
    answers: {
      200: { description: "Accepted", json: completionResponseSchema },
    },
    errors: [
      "different_completion",
      "no_lease",
      "shape_mismatch",
      "future_step",
      "wrong_state",
      "step_gone",
      "run_ended",
    ],
    examples: {
      trained: {
        summary: "A microbatch of 64 tokens, of a run with two shards",
        body: {
          ...exampleTrainer,
          lossSum: 355,
          tokens: 64,
          digests: Array.from({ length: 2 }, () => "0".repeat(64)),
        },
      },
    },
    handle: async (c, { run, kind, step, index, body, "Lease-Key": key }) =>
      json(
        await runStub(c.env, run).complete(
          c.get("caller"),
          kind,
          step,
          index,
          body,
          key ?? null,
        ),
      ),
  }),

  route({
    id: "leaveRun",
    method: "delete",
    path: "/v1/runs/{run}/leases",
    tag: "trainers",
    access: "trainer",
    summary: "Leave the run: the trainer's leases are free at once",
    description: "Idempotent.",
    query: {
      trainer: named("Name of the trainer", "a trainer's name", "invalid_name"),
      bootId: named("Its boot id", "a boot id", "invalid_name"),
    },
    answers: GONE,
    errors: ["invalid_name"],
    async handle(c, { run, trainer, bootId }) {
      await runStub(c.env, run).leave(c.get("caller"), {
        trainer,
        bootId,
      });
      return c.body(null, 204);
    },
  }),
];
