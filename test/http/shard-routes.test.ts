/** Every status of a push and of a pull, over the wire. */
import { reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import {
  decodeFrame,
  encodeFrame,
  type FrameHeader,
} from "../../src/api/frame.ts";
import { MAX_SHARD_LENGTH } from "../../src/training/sharding.ts";
import type { RunEvent } from "../../src/api/types.ts";
import { call, ScriptedTrainer, startScripted } from "../support/run.ts";
import { problemOf } from "./support.ts";

afterEach(reset);

function gradientPath(
  { run }: ScriptedTrainer,
  step: number,
  microbatch: number,
  shard = 0,
): string {
  return `/v1/runs/${run.run}/shards/${shard}/gradients/${step}/${microbatch}`;
}

async function push(
  trainer: ScriptedTrainer,
  step: number,
  microbatch: number,
  value: number,
): Promise<Response> {
  const frame = await trainer.frame(0, step, microbatch, value);
  return call("PUT", gradientPath(trainer, step, microbatch), frame);
}

async function expectDuplicate(
  response: Response,
  status: 200 | 201,
): Promise<void> {
  expect(response.status).toBe(status);
  expect(await response.json()).toEqual({ duplicate: status === 200 });
}

test("a push is 201 the first time and a 200 duplicate after, also once its step is committed", async () => {
  const trainer = await startScripted({ steps: 3, snapshotSteps: 1 });
  await expectDuplicate(await push(trainer, 0, 0, 0.5), 201);
  await expectDuplicate(await push(trainer, 0, 0, 0.5), 200);
  await trainer.reach(2);
  await expectDuplicate(await push(trainer, 0, 0, 0.5), 200);
});

test("other bytes are a 409 and an event, before the commit and after", async () => {
  const trainer = await startScripted({ steps: 3 });
  await expectDuplicate(await push(trainer, 0, 1, 0.5), 201);
  await problemOf(await push(trainer, 0, 1, 0.25), 409, "different_bytes");
  await trainer.reach(1);
  await problemOf(await push(trainer, 0, 1, 0.25), 409, "different_bytes");

  const conflicts: RunEvent[] = [];
  for await (const event of trainer.run.events()) {
    if (event.type === "conflict") conflicts.push(event);
    if (conflicts.length === 2) break;
  }
  expect(conflicts[0]).toMatchObject({ step: 0, microbatch: 1, shard: 0 });
});

test("a refused push changes nothing: the run goes on with the first bytes", async () => {
  const trainer = await startScripted({ steps: 1, shards: 1 });
  await push(trainer, 0, 0, 0.5);
  await push(trainer, 0, 0, 123);
  const status = await trainer.reach(1);
  const [metrics] = await trainer.run.metrics();
  // Padding counts nothing, so the norm is that of 0.5 at each real parameter.
  const tensors = status.parameters;
  expect(metrics!.gradNorm!).toBeLessThanOrEqual(0.5 * Math.sqrt(tensors));
  expect(metrics!.gradNorm!).toBeGreaterThan(0.49 * Math.sqrt(tensors));
});

test("a future step is a 409", async () => {
  const trainer = await startScripted();
  const problem = await problemOf(
    await push(trainer, 1, 0, 0.5),
    409,
    "future_step",
  );
  expect(problem.detail).toContain("step 0");
});

test("a push is 410 once the run has ended, also the same bytes again", async () => {
  const trainer = await startScripted();
  await push(trainer, 0, 0, 0.5);
  await trainer.run.setState("cancelled");
  await problemOf(await push(trainer, 0, 0, 0.5), 410, "run_ended");
  await problemOf(await push(trainer, 0, 1, 0.5), 410, "run_ended");
});

test("a frame that was corrupted on the way is a 400, and nothing is stored", async () => {
  const trainer = await startScripted();
  const frame = await trainer.frame(0, 0, 0, 0.5);
  const corrupt = frame.slice();
  corrupt[1000]! ^= 1;
  const path = gradientPath(trainer, 0, 0);
  await problemOf(await call("PUT", path, corrupt), 400, "digest_mismatch");
  await problemOf(
    await call("PUT", path, frame.slice(0, 999)),
    400,
    "malformed_frame",
  );
  await problemOf(
    await call("PUT", path, new Uint8Array(10)),
    400,
    "malformed_frame",
  );
  await expectDuplicate(await call("PUT", path, frame), 201);
});

test("a frame must be what its URL and the run say", async () => {
  const trainer = await startScripted({ shards: 2 });
  const [shard] = trainer.status.shards;
  const header: FrameHeader = {
    kind: "gradient",
    dtype: "f32",
    step: 0,
    microbatch: 0,
    start: shard!.start,
    length: shard!.length,
  };
  const payload = new Uint8Array(4 * shard!.length);
  const put = async (
    changes: Partial<FrameHeader>,
    bytes = payload,
    path = gradientPath(trainer, 0, 0),
  ) => call("PUT", path, await encodeFrame({ ...header, ...changes }, bytes));

  await problemOf(await put({ step: 1 }), 422, "shape_mismatch");
  await problemOf(await put({ microbatch: 1 }), 422, "shape_mismatch");
  await problemOf(await put({ start: 4096 }), 422, "shape_mismatch");
  await problemOf(
    await put({ length: 4096 }, payload.slice(0, 4 * 4096)),
    422,
    "shape_mismatch",
  );
  await problemOf(
    await put({ dtype: "bf16" }, payload.slice(0, 2 * shard!.length)),
    422,
    "unsupported_dtype",
  );
  await problemOf(await put({ kind: "parameters" }), 400, "malformed_frame");
  await problemOf(
    await put({ microbatch: 4 }, payload, gradientPath(trainer, 0, 4)),
    422,
    "invalid_number",
  );
  await problemOf(
    await put({}, payload, gradientPath(trainer, 0, 0, 2)),
    404,
    "shard_not_found",
  );
  await problemOf(
    await put({}, payload, gradientPath(trainer, 0, 0, 64)),
    404,
    "shard_not_found",
  );
  await problemOf(
    await put(
      {},
      payload,
      `/v1/runs/${trainer.run.run}/shards/0/gradients/x/0`,
    ),
    422,
    "invalid_number",
  );
  await problemOf(
    await put({}, payload, "/v1/runs/nobody/shards/0/gradients/0/0"),
    404,
    "shard_not_found",
  );
  await problemOf(
    await put({}, payload, "/v1/runs/No-Run/shards/0/gradients/0/0"),
    404,
    "run_not_found",
  );
});

test("a body larger than the largest frame is a 413", async () => {
  const trainer = await startScripted();
  const body = new Uint8Array(4 * MAX_SHARD_LENGTH + 65);
  await problemOf(
    await call("PUT", gradientPath(trainer, 0, 0), body),
    413,
    "body_too_large",
  );
});

test("a pull names its step: 425 before it, 410 after it, its frame at it", async () => {
  const trainer = await startScripted({ steps: 3 });
  const path = `/v1/runs/${trainer.run.run}/shards/0/parameters`;
  const first = await call("GET", `${path}?step=0`);
  expect(first.status).toBe(200);
  const frame = await decodeFrame(new Uint8Array(await first.arrayBuffer()));
  expect(frame).toMatchObject({
    kind: "parameters",
    dtype: "bf16",
    step: 0,
    start: 0,
  });
  const early = await call("GET", `${path}?step=1`);
  expect(early.headers.get("Retry-After")).toBe("1");
  await problemOf(early, 425, "step_not_reached");
  await trainer.reach(1);
  await problemOf(await call("GET", `${path}?step=0`), 410, "step_gone");
  const next = await call("GET", `${path}?step=1`);
  const moved = await decodeFrame(new Uint8Array(await next.arrayBuffer()));
  expect(moved.digest).not.toBe(frame.digest);

  await problemOf(await call("GET", path), 422, "invalid_number");
  await problemOf(await call("GET", `${path}?step=-1`), 422, "invalid_number");
  await problemOf(
    await call("GET", `${path}?step=1&x=1`),
    422,
    "invalid_option",
  );
  await problemOf(
    await call("GET", "/v1/runs/nobody/shards/0/parameters?step=0"),
    404,
    "shard_not_found",
  );
});

test("recipe f32 pulls f32 parameters, every other recipe bf16", async () => {
  const plain = await startScripted({ recipe: "f32" });
  expect((await plain.run.pull(0, 0)).dtype).toBe("f32");
  const rounded = await startScripted({ recipe: "bf16" });
  expect((await rounded.run.pull(0, 0)).dtype).toBe("bf16");
});
