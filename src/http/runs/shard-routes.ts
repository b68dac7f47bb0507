/**
 * Parameters and gradients, between trainers and shards. They never pass through the run's object:
 * the path names the shard, and the frame says which step and which range it belongs to.
 */
import { type Context, Hono } from "hono";
import { AppError, fromResult } from "../../api/errors.ts";
import { runStub } from "../../objects/run/run.ts";
import {
  pullFrame,
  pushFrame,
  type ShardStub,
  shardStub,
} from "../../objects/shard/shard-stub.ts";
import { MAX_SHARDS } from "../../training/sharding.ts";
import { declaredBytes } from "../body.ts";
import type { AppEnv } from "../env.ts";
import { pathNumber, runName } from "../path.ts";
import { checkQuery } from "../query.ts";

export const shardRoutes = new Hono<AppEnv>()

  /**
   * Pull a shard's parameters at one step.
   *
   * Query:  step   the step of the lease
   * 200:    a frame, bf16 [length] (f32 for recipe `f32`)
   * Errors: 404 shard_not_found, 410 step_gone (take another lease), 422 invalid_number | invalid_option,
   *         425 step_not_reached (repeat it soon)
   */
  .get("/v1/runs/:run/shards/:shard/parameters", async (c) => {
    const { run, shard } = c.req.param();
    checkQuery(c, ["step"]);
    const step = pathNumber("step", c.req.query("step") ?? "");

    const frame = await pullFrame(stub(c, run, shard), step);
    return c.body(frame, 200, { "Content-Type": "application/octet-stream" });
  })

  /**
   * Push one microbatch's gradient for one shard. Repeating a push changes nothing.
   *
   * Path:   step        the step at which the parameters were pulled
   *         microbatch  0 … microbatches − 1
   * Body:   one frame of the run's gradient dtype [length of the shard]: the mean over the
   *         microbatch's tokens
   * 201:    { duplicate: false }, stored on disk;  200: { duplicate: true }, the same bytes were here before
   * Errors: 400 malformed_frame | digest_mismatch (send it again), 404 shard_not_found,
   *         409 future_step | different_bytes (the trainer computes differently: stop it),
   *         410 step_gone | run_ended, 413 body_too_large,
   *         422 shape_mismatch | unsupported_dtype | invalid_number
   */
  .put("/v1/runs/:run/shards/:shard/gradients/:step/:microbatch", async (c) => {
    const { run, shard } = c.req.param();
    const step = pathNumber("step", c.req.param("step"));
    const microbatch = pathNumber("microbatch", c.req.param("microbatch"));
    const result = await pushFrame(
      stub(c, run, shard),
      step,
      microbatch,
      c.req.raw.body,
      declaredBytes(c),
    );
    if (!result.ok && result.code === "different_bytes") {
      await runStub(c.env, run).reportConflict(Number(shard), step, microbatch);
    }
    const { duplicate } = fromResult(result);
    return c.json({ duplicate }, duplicate ? 200 : 201);
  });

/** Only names that can exist make an object. */
function stub(c: Context<AppEnv>, run: string, shard: string): ShardStub {
  const index = pathNumber("shard", shard);
  if (index >= MAX_SHARDS) {
    throw new AppError(
      "shard_not_found",
      `Expected a shard from 0 to ${MAX_SHARDS - 1}, got ${index}`,
    );
  }
  return shardStub(c.env, runName(run), index);
}
