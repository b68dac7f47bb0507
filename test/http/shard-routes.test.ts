/** Every status of a push and of a pull, over the wire. */
import { reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import {
  decodeFrame,
  encodeFrame,
  type Frame,
  type FrameHeader,
} from "../../src/api/frame.ts";
import { MAX_SHARD_LENGTH } from "../../src/training/sharding.ts";
import type { RunEvent } from "../../src/api/run-metrics.ts";
import { call, keyOf, ScriptedTrainer, startScripted } from "../support/run.ts";
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
  return put(trainer, gradientPath(trainer, step, microbatch), frame);
}

/** With the key of a lease of what the path names. */
async function put(
  { run }: ScriptedTrainer,
  path: string,
  frame: Uint8Array<ArrayBuffer>,
): Promise<Response> {
  const [step, index] = path.split("/").slice(-2).map(Number);
  const leased = { kind: "train", step: step!, index: index! } as const;
  const key = await keyOf(run.run, leased);
  return call("PUT", path, frame, { "Lease-Key": key });
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

test("other bytes of the same author are a 409 and an event, before the commit and after, and change nothing", async () => {
  const trainer = await startScripted({ steps: 3, shards: 1 });
  await expectDuplicate(await push(trainer, 0, 1, 0.5), 201);
  await problemOf(await push(trainer, 0, 1, 0.25), 409, "different_bytes");
  // It is under quarantine, so the run goes on with another.
  const other = new ScriptedTrainer(trainer.run, trainer.status, "other");
  await other.reach(1);
  const key = await keyOf(
    trainer.run.run,
    { kind: "train", step: 0, index: 1 },
    "other",
  );
  const late = await call(
    "PUT",
    gradientPath(trainer, 0, 1),
    await trainer.frame(0, 0, 1, 123),
    { "Lease-Key": key },
  );
  await problemOf(late, 409, "different_bytes");

  const told: RunEvent[] = [];
  for await (const event of trainer.run.events()) {
    if (event.type === "conflict" || event.type === "author") told.push(event);
    if (told.length === 3) break;
  }
  const conflict = { type: "conflict", kind: "train", step: 0, microbatch: 1 };
  expect(told).toMatchObject([
    { ...conflict, author: "owner.scripted" },
    { type: "author", author: "owner.scripted", state: "quarantined" },
    // What is committed stays, and by whom it was told wrong cannot be known from it.
    { ...conflict, author: "owner.other" },
  ]);
  const [metrics] = await trainer.run.metrics();
  // Padding counts nothing, so the norm is that of 0.5 at each real parameter.
  const root = Math.sqrt(trainer.status.parameters);
  expect(metrics!.gradNorm!).toBeLessThanOrEqual(0.5 * root);
  expect(metrics!.gradNorm!).toBeGreaterThan(0.49 * root);
});

test("a push without the key of the caller's lease of that very microbatch is refused before its body is read", async () => {
  const trainer = await startScripted();
  const { run } = trainer.run;
  const path = gradientPath(trainer, 0, 0);
  const leased = { kind: "train", step: 0, index: 0 } as const;
  const key = await keyOf(run, leased);
  const { id } = await trainer.run.joinToken();
  for (const [what, headers] of [
    ["none", {}],
    [
      "another microbatch's",
      { "Lease-Key": await keyOf(run, { ...leased, index: 1 }) },
    ],
    [
      "another step's",
      { "Lease-Key": await keyOf(run, { ...leased, step: 1 }) },
    ],
    [
      "of an evaluation",
      { "Lease-Key": await keyOf(run, { ...leased, kind: "eval" }) },
    ],
    ["a token's", { "Lease-Key": await keyOf(run, leased, "scripted", id) }],
    ["another's signature", { "Lease-Key": key.replace("scripted", "other") }],
    ["no signature", { "Lease-Key": "owner.scripted:" }],
    ["text", { "Lease-Key": "x".repeat(300) }],
  ] as [string, Record<string, string>][]) {
    // What is no frame would be refused as that, if it were read.
    const response = await call("PUT", path, new Uint8Array(10), headers);
    const { detail } = await problemOf(response, 409, "no_lease");
    expect(detail, what).toContain("train microbatch 0 of step 0");
  }
  const frame = await trainer.frame(0, 0, 0, 0.5);
  await expectDuplicate(
    await call("PUT", path, frame, { "Lease-Key": key }),
    201,
  );
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
  await problemOf(await put(trainer, path, corrupt), 400, "digest_mismatch");
  await problemOf(
    await put(trainer, path, frame.slice(0, 999)),
    400,
    "malformed_frame",
  );
  await problemOf(
    await put(trainer, path, new Uint8Array(10)),
    400,
    "malformed_frame",
  );
  await expectDuplicate(await put(trainer, path, frame), 201);
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
  const send = async (
    changes: Partial<FrameHeader>,
    bytes = payload,
    path = gradientPath(trainer, 0, 0),
  ) => put(trainer, path, await encodeFrame({ ...header, ...changes }, bytes));

  await problemOf(await send({ step: 1 }), 422, "shape_mismatch");
  await problemOf(await send({ microbatch: 1 }), 422, "shape_mismatch");
  await problemOf(await send({ start: 4096 }), 422, "shape_mismatch");
  await problemOf(
    await send({ length: 4096 }, payload.slice(0, 4 * 4096)),
    422,
    "shape_mismatch",
  );
  await problemOf(
    await send({ dtype: "bf16" }, payload.slice(0, 2 * shard!.length)),
    422,
    "unsupported_dtype",
  );
  await problemOf(await send({ kind: "parameters" }), 400, "malformed_frame");
  await problemOf(
    await send({ microbatch: 4 }, payload, gradientPath(trainer, 0, 4)),
    422,
    "invalid_number",
  );
  await problemOf(
    await send({}, payload, gradientPath(trainer, 0, 0, 2)),
    404,
    "shard_not_found",
  );
  await problemOf(
    await send({}, payload, gradientPath(trainer, 0, 0, 64)),
    404,
    "shard_not_found",
  );
  await problemOf(
    await send(
      {},
      payload,
      `/v1/runs/${trainer.run.run}/shards/0/gradients/x/0`,
    ),
    422,
    "invalid_number",
  );
  await problemOf(
    await send({}, payload, "/v1/runs/nobody/shards/0/gradients/0/0"),
    404,
    "shard_not_found",
  );
  await problemOf(
    await send({}, payload, "/v1/runs/No-Run/shards/0/gradients/0/0"),
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

test("a pull may wait for a step to come: until it is there, the run has ended or gone back, or its time is over", async () => {
  const { trainer, ask } = await waitingPulls();
  await problemOf(await ask(1, 1), 425, "step_not_reached");
  const coming = ask(1, 10_000);
  const never = ask(2, 10_000);
  await trainer.reach(1);
  const { digest } = await trainer.run.pull(0, 1);
  const came = new Uint8Array(await (await coming).arrayBuffer());
  expect(await decodeFrame(came)).toMatchObject({ step: 1, digest });
  // What is there already is not waited for.
  expect((await ask(1, 10_000)).status).toBe(200);
  await trainer.run.setState("cancelled");
  await problemOf(await never, 410, "run_ended");
  await problemOf(await ask(2, 10_000), 410, "run_ended");
  await problemOf(await ask(1, 10_001), 422, "invalid_option");
});

test("a pull that waits is refused when the run has gone back meanwhile", async () => {
  const { trainer, ask } = await waitingPulls();
  await trainer.reach(1);
  const waiting = ask(2, 10_000, "&rewinds=0");
  await trainer.run.rewind(0);
  await problemOf(await waiting, 410, "step_gone");
});

async function waitingPulls() {
  const trainer = await startScripted({ steps: 3 });
  const path = `/v1/runs/${trainer.run.run}/shards/0/parameters`;
  const ask = (step: number, waitMs: number, more = "") =>
    call("GET", `${path}?step=${step}&waitMs=${waitMs}${more}`);
  return { trainer, ask };
}

test("recipe f32 pulls f32 parameters, every other recipe bf16", async () => {
  const plain = await startScripted({ recipe: "f32" });
  expect((await plain.run.pull(0, 0)).dtype).toBe("f32");
  const rounded = await startScripted({ recipe: "bf16" });
  expect((await rounded.run.pull(0, 0)).dtype).toBe("bf16");
});

test("a pull with the frame of the step before is the difference to it, once somebody has asked", async () => {
  const trainer = await startScripted({ steps: 6, recipe: "bf16" });
  const path = `/v1/runs/${trainer.run.run}/shards/0/parameters`;
  const ask = async (step: number, base?: string) => {
    const headers: Record<string, string> =
      base === undefined ? {} : { "Frame-Base": base };
    const answer = await call(
      "GET",
      `${path}?step=${step}`,
      undefined,
      headers,
    );
    expect(answer.status).toBe(200);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return { base: answer.headers.get("Frame-Base"), bytes };
  };
  const frames: Frame[] = [await trainer.run.pull(0, 0)];
  await trainer.reach(1);
  // Nobody had asked while step 0 was there.
  const first = await ask(1, frames[0]!.digest);
  expect(first.base).toBeNull();
  frames.push(await decodeFrame(first.bytes));

  await trainer.reach(2);
  const whole = await decodeFrame((await ask(2)).bytes);
  for (const _again of [1, 2]) {
    const { base, bytes } = await ask(2, frames[1]!.digest);
    expect(base).toBe(frames[1]!.digest);
    expect(bytes.length).toBeLessThan(whole.payload.length);
  }
  // Of another frame, and of none, it is whole.
  for (const other of [frames[0]!.digest, whole.digest, "0".repeat(64), "x"])
    expect(await ask(2, other)).toMatchObject({ base: null });
  const made = await trainer.run.pull(0, 2, { base: frames[1] });
  expect(made).toMatchObject({ step: 2, digest: whole.digest });
  expect(made.payload).toEqual(whole.payload);
  expect(made.travelled.bytes).toBeLessThan(whole.payload.length);
});

test("parameters that travel as f32 have no differences", async () => {
  const trainer = await startScripted({ steps: 4, recipe: "f32" });
  let frame = await trainer.run.pull(0, 0);
  for (const step of [1, 2]) {
    await trainer.reach(step);
    frame = await trainer.run.pull(0, step, { base: frame });
    expect(frame).toMatchObject({ step, dtype: "f32" });
    expect(frame.travelled.bytes).toBe(64 + frame.payload.length);
  }
});
