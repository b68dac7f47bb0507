/**
 * What trainers call. Parameters and gradients never pass through the run's object: the path names the
 * shard, and the frame says which step and which range it belongs to.
 */
import type { Context } from "hono";
import * as z from "zod";
import { AppError, fromResult } from "../../api/errors.ts";
import { FRAME_BASE } from "../../api/frame-delta.ts";
import { HOST_KINDS } from "../../api/run-status.ts";
import { runStub } from "../../objects/run/run.ts";
import {
  pullFrame,
  pushFrame,
  type ShardStub,
  shardStub,
} from "../../objects/shard/shard-stub.ts";
import { NAME_PATTERN } from "../../training/run-request.ts";
import { MAX_SHARDS } from "../../training/sharding.ts";
import { declaredBytes } from "../body.ts";
import { GONE } from "../files/stored-bytes.ts";
import { named, PATH_PARAMETERS } from "../declaration/path.ts";
import { optional, textParameter } from "../declaration/parameter.ts";
import { REQUEST_SCHEMAS, route } from "../declaration/route.ts";
import type { AppEnv } from "../env.ts";
import {
  completionResponseSchema,
  leaseResponseSchema,
  pushResponseSchema,
} from "./run-schemas.ts";
import { json } from "../json.ts";

const name = z.string().regex(NAME_PATTERN);
/** Travels in a header between Worker and object. */
const printable = z.string().regex(/^[\x21-\x7e]{1,200}$/);

const leaseSchema = z
  .strictObject({
    trainer: name,
    bootId: name,
    fingerprint: printable,
    host: z
      .enum(HOST_KINDS)
      .optional()
      .describe("What it computes in, for the roster alone"),
  })
  .register(REQUEST_SCHEMAS, { id: "LeaseRequest" });

/** Hexadecimal SHA-256 digests. */
const digests = z.array(z.string().regex(/^[0-9a-f]{64}$/)).max(MAX_SHARDS);

const ms = z.number().min(0).max(1e12);
const frameBytes = z.int().min(0).max(1e12);

const phasesSchema = z.strictObject({
  leaseMs: ms.describe("Until the lease was there"),
  pullMs: ms.describe("Until its parameters and tokens were there"),
  computeMs: ms,
  pushMs: ms.describe("Until every shard had acknowledged its gradient"),
  pulledBytes: frameBytes,
  pushedBytes: frameBytes,
});

const completionSchema = z
  .strictObject({
    trainer: name,
    bootId: name,
    lossSum: z.number().nullable(),
    tokens: z.int().min(0).max(1e9),
    bytes: z
      .int()
      .min(0)
      .max(1e12)
      .optional()
      .describe("Of the tokens' text; needed where tokens are no bytes"),
    digests: digests
      .optional()
      .describe(
        "Of a training microbatch: the SHA-256 of each shard's frame, as in its header",
      ),
    phases: phasesSchema
      .optional()
      .describe("For the metrics alone: no result depends on it"),
  })
  .register(REQUEST_SCHEMAS, { id: "Completion" });

/** One that lacks, and one that is no lease's, are refused by what they open. */
const REWINDS = {
  kind: "whole",
  least: 0,
  most: 2 ** 32 - 1,
  text: "Of the lease (default: any); `step_gone` where the run has gone back since",
} as const;
const WAIT_MS = {
  kind: "whole",
  least: 0,
  most: 10_000,
  default: 0,
  text: "Wait so long for the shard to reach the step",
} as const;
const LEASE_KEY = textParameter(
  "`key` of the caller's lease",
  /^[\x21-\x7e]+$/,
);

const exampleTrainer = { trainer: "example", bootId: "1" };

export const TRAINER_ROUTES = [
  route({
    id: "takeLease",
    method: "post",
    path: "/v1/runs/{run}/leases",
    tag: "trainers",
    access: "trainer",
    summary: "Take a lease: the right to compute one microbatch",
    description:
      "A trainer has one at a time; asking again gives it the same. Waits up to 10 seconds; `lease` is null when there was none.",
    body: { description: "Who asks", json: leaseSchema },
    answers: { 200: { description: "The lease", json: leaseResponseSchema } },
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
    summary: "Complete a lease, once every shard has the gradient",
    description:
      "Repeating it changes nothing. The answer bears the next lease. What differs from what others have told is computed again; `different_completion`: from what the caller itself has told, or from what is committed.",
    headers: { "Lease-Key": LEASE_KEY },
    body: {
      description:
        "Sums over the microbatch; a loss in nats, null when it is not finite",
      json: completionSchema,
    },
    answers: {
      200: { description: "Taken", json: completionResponseSchema },
    },
    errors: [
      "malformed_json",
      "run_not_found",
      "different_completion",
      "no_lease",
      "shape_mismatch",
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
    handle: async (
      c,
      { run, kind, step, index, body, "Lease-Key": key = null },
    ) =>
      json(
        await runStub(c.env, run).complete(
          c.get("caller"),
          kind,
          step,
          index,
          body,
          printableKey(key),
        ),
      ),
  }),

  route({
    id: "leaveRun",
    method: "delete",
    path: "/v1/runs/{run}/leases",
    tag: "trainers",
    access: "trainer",
    summary: "Go: what a trainer holds is open again at once",
    description: "Repeating it changes nothing.",
    query: {
      trainer: named("Who goes", "trainer's name", "invalid_name"),
      bootId: named("Its boot", "boot id", "invalid_name"),
    },
    answers: GONE,
    errors: ["run_not_found", "invalid_name", "invalid_option"],
    async handle(c, { run, trainer, bootId }) {
      await runStub(c.env, run).leave(c.get("caller"), {
        trainer,
        bootId,
      });
      return c.body(null, 204);
    },
  }),

  route({
    id: "pullParameters",
    method: "get",
    path: "/v1/runs/{run}/shards/{shard}/parameters",
    tag: "trainers",
    access: "trainer",
    summary: "A shard's parameters at one step",
    description:
      "With `Frame-Base`, the answer may be the difference to that frame, where it is the one of the step before and the difference is smaller; it bears the same header then.",
    query: {
      step: PATH_PARAMETERS.step,
      rewinds: optional(REWINDS),
      waitMs: optional(WAIT_MS),
    },
    headers: {
      [FRAME_BASE]: textParameter(
        "SHA-256 of the frame of this shard that the caller has, as in its header",
        /^[0-9a-f]{64}$/,
      ),
    },
    answers: {
      200: {
        description:
          "A frame (src/api/frame.ts), bf16 [length], or f32 for recipe `f32`; or a difference (src/api/frame-delta.ts)",
        type: "application/octet-stream",
      },
    },
    errors: [
      "run_not_found",
      "shard_not_found",
      "step_gone",
      "invalid_number",
      "invalid_option",
      "step_not_reached",
      "run_ended",
    ],
    async handle(c, { run, shard, step, rewinds, waitMs, [FRAME_BASE]: has }) {
      const { body, base } = await pullFrame(
        stub(c, run, shard),
        c.get("caller"),
        step,
        has !== undefined && /^[0-9a-f]{64}$/.test(has) ? has : undefined,
        rewinds,
        waitMs,
      );
      return c.body(body, 200, {
        "Content-Type": "application/octet-stream",
        ...(base !== null && { [FRAME_BASE]: base }),
      });
    },
  }),

  route({
    id: "pushGradient",
    method: "put",
    path: "/v1/runs/{run}/shards/{shard}/gradients/{step}/{microbatch}",
    tag: "trainers",
    access: "trainer",
    summary: "Push one microbatch's gradient for one shard",
    description:
      "Repeating it changes nothing. What differs from what others have pushed is kept beside it until a commit takes one; `different_bytes`: from what the caller itself has pushed, or from what is committed.",
    headers: { "Lease-Key": LEASE_KEY },
    body: {
      description:
        "A frame (src/api/frame.ts) of the run's gradient dtype [length of the shard]: the mean over the microbatch's tokens",
    },
    answers: {
      200: {
        description: "The same bytes were here",
        json: pushResponseSchema,
      },
      201: { description: "Stored on disk", json: pushResponseSchema },
    },
    errors: [
      "malformed_body",
      "malformed_frame",
      "digest_mismatch",
      "run_not_found",
      "shard_not_found",
      "future_step",
      "different_bytes",
      "no_lease",
      "step_gone",
      "run_ended",
      "body_too_large",
      "shape_mismatch",
      "unsupported_dtype",
      "invalid_number",
    ],
    async handle(c, { run, shard, step, microbatch, "Lease-Key": given }) {
      const key = printableKey(given ?? null);
      const result = await pushFrame(
        stub(c, run, shard),
        c.get("caller"),
        key ?? undefined,
        step,
        microbatch,
        c.req.raw.body,
        declaredBytes(c),
      );
      if (!result.ok && result.code === "different_bytes") {
        await runStub(c.env, run).reportConflict(
          c.get("caller"),
          step,
          microbatch,
          key!,
        );
      }
      const { duplicate } = fromResult(result);
      return json({ duplicate }, duplicate ? 200 : 201);
    },
  }),
];

/** What no key can be travels no further. */
function printableKey(key: string | null): string | null {
  return key !== null && /^[\x21-\x7e]{1,200}$/.test(key) ? key : null;
}

/** Only names that can exist make an object. */
function stub(c: Context<AppEnv>, run: string, shard: number): ShardStub {
  if (shard >= MAX_SHARDS) {
    throw new AppError(
      "shard_not_found",
      `Expected a shard from 0 to ${MAX_SHARDS - 1}, got ${shard}`,
    );
  }
  return shardStub(c.env, run, shard);
}
