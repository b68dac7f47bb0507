/**
 * Routes for trainers. Parameters and gradients never pass through the run's object: the path names the shard, and the
 * frame its step and range.
 */
import { AppError, fromResult } from "../../api/errors.ts";
import { FRAME_BASE } from "../../api/frame-delta.ts";
import { runStub } from "../../objects/run/run.ts";
import {
  pullFrame,
  pushFrame,
  pushTarget,
  shardStub,
} from "../../objects/shard/shard-stub.ts";
import { MAX_SHARDS } from "../../training/sharding.ts";
import { declaredBytes } from "../body.ts";
import { PATH_PARAMETERS, U32 } from "../declaration/path.ts";
import { optional, textParameter } from "../declaration/parameter.ts";
import { route } from "../declaration/route.ts";
import { json } from "../json.ts";
import { LEASE_KEY, LEASE_ROUTES } from "./lease-routes.ts";
import { pushResponseSchema } from "./lease-schemas.ts";

/** Whether a missing or invalid key is refused depends on the route's object. */
const REWINDS = {
  ...U32,
  text: "`rewinds` of the lease (default: any); `step_gone` if the run was rewound since",
};
const WAIT_MS = {
  kind: "whole",
  least: 0,
  most: 10_000,
  default: 0,
  text: "How long to wait for the shard to reach the step, in ms",
} as const;
export const TRAINER_ROUTES = [
  ...LEASE_ROUTES,

  route({
    id: "pullParameters",
    method: "get",
    path: "/v1/runs/{run}/shards/{shard}/parameters",
    tag: "trainers",
    access: "trainer",
    summary: "Pull a shard's parameters at one step",
    description:
      "With `Frame-Base`, the digest of a frame that the caller has, the response may be the difference to it, if it is the frame of the previous step and the difference is smaller. The response then has the same header.",
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
    errors: ["shard_not_found", "step_gone", "step_not_reached", "run_ended"],
    async handle(c, { run, shard, step, rewinds, waitMs, [FRAME_BASE]: has }) {
      const { body, base } = await pullFrame(
        shardStub(c.env, run, checkShard(shard)),
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
      "Idempotent. A gradient that differs from another author's is kept beside it until the commit takes one; if it differs from the caller's own earlier push or from what was committed, the error is `different_bytes`.",
    headers: { "Lease-Key": LEASE_KEY },
    body: {
      description:
        "A frame (src/api/frame.ts) of the run's gradient dtype [length of the shard]: the mean over the microbatch's tokens",
    },
    answers: {
      200: {
        description: "The same bytes were already stored",
        json: pushResponseSchema,
      },
      201: { description: "Stored durably", json: pushResponseSchema },
    },
    errors: [
      "malformed_body",
      "malformed_frame",
      "digest_mismatch",
      "shard_not_found",
      "future_step",
      "different_bytes",
      "no_lease",
      "step_gone",
      "run_ended",
      "body_too_large",
      "shape_mismatch",
      "unsupported_dtype",
    ],
    async handle(c, { run, shard, step, microbatch, "Lease-Key": key }) {
      const result = await pushFrame(
        pushTarget(c.env, run, checkShard(shard), microbatch, key),
        c.get("caller"),
        key,
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

/** Only valid indices create an object. */
function checkShard(shard: number): number {
  if (shard < MAX_SHARDS) return shard;
  throw new AppError(
    "shard_not_found",
    `Expected a shard from 0 to ${MAX_SHARDS - 1}, got ${shard}`,
  );
}
