import { reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { Lease } from "../../src/api/lease.ts";
import type { RunEvent } from "../../src/api/run-metrics.ts";
import type { RunStatus } from "../../src/api/run-status.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import {
  call,
  callJson,
  clientOf,
  corpus,
  finish,
  FINGERPRINT,
  keyOf,
  outcomeOf,
  startRun,
  startScripted,
  TINY,
} from "../support/run.ts";
import { problemOf } from "./support.ts";

afterEach(reset);

async function newCorpus(): Promise<string> {
  const name = `corpus-${crypto.randomUUID()}`;
  await clientOf().putDataset(name, corpus());
  return name;
}

const lease = (run: string, changes: object = {}) =>
  callJson("POST", `/v1/runs/${run}/leases`, {
    trainer: "one",
    bootId: "boot",
    fingerprint: FINGERPRINT,
    ...changes,
  });

test("POST /v1/runs fills in the default run", async () => {
  const name = await newCorpus();
  const model = { context: 64 };
  const response = await callJson("POST", "/v1/runs", { dataset: name, model });
  expect(response.status).toBe(201);
  const status = await response.json<RunStatus>();
  expect(status).toMatchObject({
    state: "running",
    step: 0,
    parameters: 834_304,
    trainers: [],
    trainLoss: null,
    valLoss: null,
    config: {
      dataset: { name, tokens: 4096, vocabulary: 256, tokenizer: "byte" },
      model: { layers: 4, width: 128, heads: 4, context: 64, vocabulary: 256 },
      recipe: "mxfp4-rht-eden",
      gradientDtype: "mxfp4",
      seed: 0,
      steps: 800,
      microbatches: 4,
      sequences: 2,
      optimizer: {
        name: "muon",
        learningRate: 8e-3,
        matrixLearningRate: 0.03,
        schedule: "linear",
        finalLearningRateRatio: 0,
        warmupSteps: 0,
        cooldownSteps: 0,
        momentum: 0.9,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weightDecay: 0.1,
        clip: 1,
      },
      evaluation: { interval: 50, microbatches: 8 },
      shards: 2,
      snapshotSteps: 100,
    },
  });
  expect(status.shards.map(({ start }) => start % 4096)).toEqual([0, 0]);
});

test("POST /v1/runs with an id is safe to repeat, and refuses another config", async () => {
  const body = { ...TINY, dataset: await newCorpus(), run: "mine" };
  expect((await callJson("POST", "/v1/runs", body)).status).toBe(201);
  expect((await callJson("POST", "/v1/runs", body)).status).toBe(200);
  await problemOf(
    await callJson("POST", "/v1/runs", { ...body, seed: 9 }),
    409,
    "wrong_state",
  );
  const { runs } = await (
    await call("GET", "/v1/runs")
  ).json<{ runs: unknown[] }>();
  expect(runs).toContainEqual(
    expect.objectContaining({
      run: "mine",
      dataset: body.dataset,
      ended: false,
    }),
  );
});

test("POST /v1/runs names all that is wrong at once", async () => {
  const dataset = await newCorpus();
  const problem = await problemOf(
    await callJson("POST", "/v1/runs", {
      dataset,
      recipe: "fp4",
      steps: 0,
      colour: "red",
      model: { width: 1.5 },
    }),
    422,
    "invalid_config",
  );
  for (const part of ["recipe", "steps", "colour", "model.width", "fp4"]) {
    expect(problem.detail).toContain(part);
  }
  const rules = await problemOf(
    await callJson("POST", "/v1/runs", {
      dataset,
      model: { width: 96, heads: 4, context: 100 },
      sequences: 1,
      shards: 64,
    }),
    422,
    "invalid_config",
  );
  expect(rules.detail).toMatch(/multiple of 64, got 96/);
  await problemOf(
    await callJson("POST", "/v1/runs", { dataset, model: { context: 512 } }),
    422,
    "invalid_config",
  );
  await problemOf(
    await callJson("POST", "/v1/runs", { dataset: "nothing" }),
    404,
    "dataset_not_found",
  );
  await problemOf(
    await call("POST", "/v1/runs", "{", { "Content-Type": "application/json" }),
    400,
    "malformed_json",
  );
});

test("a run that does not exist is a 404 on every route", async () => {
  for (const [method, path, body] of [
    ["GET", "", undefined],
    ["PATCH", "", { state: "paused" }],
    ["DELETE", "", undefined],
    ["GET", "/metrics", undefined],
    ["GET", "/events", undefined],
    ["GET", "/checkpoint", undefined],
    ["POST", "/trainers", { count: 1 }],
    ["POST", "/trainers", { join: true }],
    [
      "PUT",
      "/leases/train/0/0",
      { trainer: "one", bootId: "b", lossSum: 1, tokens: 1 },
    ],
  ] as const) {
    for (const run of ["nobody", "No Body"]) {
      const url = `/v1/runs/${encodeURIComponent(run)}${path}`;
      const response = body
        ? await callJson(method, url, body)
        : await call(method, url);
      const { detail } = await problemOf(response, 404, "run_not_found");
      expect(detail).toContain(`got "${run}"`);
    }
  }
  await problemOf(await lease("nobody"), 404, "run_not_found");
});

test("PATCH pauses and goes on: a paused run gives no leases and still takes what is under way", async () => {
  const { run } = await startRun({ steps: 1, microbatches: 1 });
  const paused = await run.setState("paused");
  expect(paused.state).toBe("paused");
  expect((await run.setState("paused")).state).toBe("paused");

  // A lease asked for while paused is given once the run goes on.
  const waiting = lease(run.run);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect((await run.setState("running")).state).toBe("running");
  const answer = await (
    await waiting
  ).json<{ state: string; lease: { kind: string } }>();
  expect(answer).toMatchObject({ state: "running", lease: { kind: "train" } });

  await run.setState("paused");
  const key = await keyOf(run.run, { kind: "eval", step: 0, index: 0 }, "one");
  const told = { trainer: "one", bootId: "boot", lossSum: 64, tokens: 64 };
  const complete = () =>
    callJson("PUT", `/v1/runs/${run.run}/leases/eval/0/0`, told, {
      "Lease-Key": key,
    });
  expect(await (await complete()).json()).toEqual({
    state: "paused",
    lease: null,
    duplicate: false,
  });
});

test("PATCH cancels for good, and DELETE removes what has ended", async () => {
  const trainer = await startScripted();
  const path = `/v1/runs/${trainer.run.run}`;
  await trainer.reach(1);
  await problemOf(await call("DELETE", path), 409, "run_active");
  expect((await trainer.run.setState("cancelled")).state).toBe("cancelled");
  expect((await trainer.run.setState("cancelled")).state).toBe("cancelled");
  await problemOf(
    await callJson("PATCH", path, { state: "running" }),
    409,
    "wrong_state",
  );
  await problemOf(
    await callJson("PATCH", path, { state: "finished" }),
    422,
    "invalid_config",
  );
  expect((await trainer.run.lease(trainer.identity)).state).toBe("cancelled");
  // The parameters of the last step are still there, then nothing is.
  expect((await trainer.run.pull(0, 1)).step).toBe(1);

  expect((await call("DELETE", path)).status).toBe(204);
  await problemOf(await call("DELETE", path), 404, "run_not_found");
  await problemOf(
    await call("GET", `${path}/shards/0/parameters?step=1`),
    404,
    "shard_not_found",
  );
  await problemOf(await call("GET", path), 404, "run_not_found");
});

test("a run that was removed can be created again under its id, from nothing", async () => {
  const first = await startScripted({ run: "again", shards: 2 });
  await first.reach(2);
  await first.run.setState("cancelled");
  await first.run.remove();

  const second = await startScripted({ run: "again", shards: 2 });
  expect(second.status).toMatchObject({
    state: "running",
    step: 0,
    trainers: [],
    trainLoss: null,
  });
  // Another fingerprint than before, and the same trainer's first pushes again.
  second.identity.fingerprint = "other";
  expect((await second.reach(3)).step).toBe(3);
  expect(await second.run.metrics()).toHaveLength(3);
});

test("a trainer that computes differently is refused: the first one's fingerprint counts", async () => {
  const { run } = await startRun();
  expect((await lease(run.run)).status).toBe(200);
  await problemOf(
    await lease(run.run, { trainer: "two", fingerprint: "other" }),
    409,
    "fingerprint_differs",
  );
});

test("leases refuse names that cannot travel", async () => {
  const { run } = await startRun();
  await problemOf(
    await lease(run.run, { trainer: "größe" }),
    422,
    "invalid_config",
  );
  await problemOf(await lease(run.run, { extra: 1 }), 422, "invalid_config");
});

test("a completion is safe to repeat; other values are a 409, other steps a 409 or a 410", async () => {
  const trainer = await startScripted({ steps: 3 });
  const digests = await trainer.digests({ step: 0, index: 0 }, 0.5);
  const complete = async (
    kind: string,
    step: number,
    index: number,
    lossSum = 64,
    who = "scripted",
  ) =>
    callJson(
      "PUT",
      `/v1/runs/${trainer.run.run}/leases/${kind}/${step}/${index}`,
      {
        trainer: who,
        bootId: "boot",
        lossSum,
        tokens: 64,
        ...(kind === "train" && { digests }),
      },
      {
        "Lease-Key": await keyOf(
          trainer.run.run,
          { kind: kind as "train", step, index },
          who,
        ),
      },
    );
  await problemOf(await complete("train", 0, 0), 409, "wrong_state");
  await trainer.doLease();
  const repeated = await (await complete("train", 0, 0)).json();
  expect(repeated).toMatchObject({ duplicate: true, state: "running" });
  await problemOf(await complete("train", 1, 0), 409, "future_step");
  await problemOf(await complete("train", 0, 4), 422, "invalid_number");
  await problemOf(await complete("eval", 1, 0), 422, "invalid_number");
  await problemOf(await complete("test", 0, 0), 422, "invalid_option");
  await trainer.reach(1);
  expect(await (await complete("train", 0, 0)).json()).toMatchObject({
    duplicate: true,
  });
  await problemOf(
    await complete("train", 0, 0, 65),
    409,
    "different_completion",
  );
  await trainer.run.setState("cancelled");
  await problemOf(await complete("train", 1, 0), 410, "run_ended");
});

test("a completion whose gradient never came is taken back", async () => {
  const trainer = await startScripted({ microbatches: 1, steps: 1 });
  const { lease: given } = await trainer.run.lease(trainer.identity);
  expect(given).toMatchObject({ kind: "train" });
  let next = await trainer.complete(given!);
  while (next.lease?.kind === "eval") next = await trainer.complete(next.lease);
  expect((await trainer.run.status()).step).toBe(0);
  expect(next.lease).toMatchObject({ kind: "train", step: 0, index: 0 });
  expect((await trainer.reach(1)).step).toBe(1);
});

test("a gradient that is not finite ends the run as diverged and keeps the last good parameters", async () => {
  const trainer = await startScripted({ steps: 3, shards: 2 });
  await trainer.reach(1);
  const before = await outcomeOf(trainer.run);
  for (;;) {
    const { state, lease: given } = await trainer.run.lease(trainer.identity);
    if (!given) {
      expect(state).toBe("diverged");
      break;
    }
    const value = given.index > 0 ? 0.5 : Number.NaN;
    await trainer.pushFor(given, value);
    await trainer.complete(given, value);
  }
  const status = await trainer.run.status();
  expect(status).toMatchObject({ state: "diverged", step: 1 });
  expect((await outcomeOf(trainer.run)).checkpoint).toEqual(before.checkpoint);
});

test("the final evaluation covers the whole held-out split, and the last line of metrics tells it", async () => {
  const { run, status } = await startRun();
  await finish(run);
  const events: RunEvent[] = [];
  for await (const event of run.events()) events.push(event);
  const evaluations = events.flatMap((event) =>
    event.type === "evaluation" ? [[event.step, event.tokens]] : [],
  );
  // 205 tokens are held out of 4096, so 204 have a target; before the end: 2 microbatches of 64.
  expect(evaluations).toEqual([
    [0, 128],
    [2, 128],
    [3, 204],
  ]);
  expect(events.at(-1)).toMatchObject({ type: "state", state: "finished" });
  const metrics = await run.metrics();
  const last = metrics.at(-1)!;
  expect(last).toMatchObject({
    step: 3,
    trainLoss: null,
    learningRate: 0,
    tokens: 3 * 4 * 64,
  });
  expect((await run.status()).valLoss).toBe(last.valLoss);
  expect(status.run).toBe(run.run);
});

test("phases are summed in the metrics, may be told otherwise, and change no digest", async () => {
  const told = {
    leaseMs: 1,
    pullMs: 2.5,
    computeMs: 30,
    pushMs: 4,
    pulledBytes: 5,
    pushedBytes: 6,
  };
  const plain = await startScripted({ steps: 1 });
  await plain.reach(1);
  const dataset = plain.status.config.dataset.name;
  const timed = await startScripted({ steps: 1, dataset });
  const complete = async (given: Lease, phases: unknown) =>
    callJson(
      "PUT",
      `/v1/runs/${timed.run.run}/leases/${given.kind}/0/${given.index}`,
      {
        trainer: "scripted",
        bootId: "boot",
        lossSum: 64,
        tokens: 64,
        ...(given.kind === "train" && {
          digests: await timed.digests(given, 0.5),
        }),
        phases,
      },
      { "Lease-Key": given.key },
    );
  let completed = 0;
  for (;;) {
    const { lease: given } = await timed.run.lease(timed.identity);
    if (!given || given.step > 0) break;
    if (given.kind === "train") await timed.pushFor(given, 0.5);
    if (completed === 0) {
      for (const wrong of [
        { leaseMs: -1 },
        { pulledBytes: 0.5 },
        { waitMs: 1 },
      ])
        await problemOf(
          await complete(given, { ...told, ...wrong }),
          422,
          "invalid_config",
        );
    }
    for (const phases of [told, { ...told, leaseMs: 99 }])
      expect((await complete(given, phases)).status).toBe(200);
    completed++;
  }
  expect(completed).toBe(6);
  const [line] = await timed.run.metrics();
  expect(line!.phases).toEqual({
    leaseMs: 6,
    pullMs: 15,
    computeMs: 180,
    pushMs: 24,
    pulledBytes: 30,
    pushedBytes: 36,
    commitMs: expect.any(Number) as number,
  });
  const [other] = await plain.run.metrics();
  expect([line!.results, line!.chain]).toEqual([other!.results, other!.chain]);
});

test("metrics come as JSON lines, and as CSV by format or Accept", async () => {
  const trainer = await startScripted();
  await trainer.reach(2);
  const path = `/v1/runs/${trainer.run.run}/metrics`;
  const lines = new TextDecoder()
    .decode(await (await call("GET", path)).arrayBuffer())
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { step: number });
  expect(lines.map(({ step }) => step)).toEqual([0, 1]);
  expect(lines[0]).toMatchObject({ trainLoss: 1, valLoss: 1, tokens: 256 });
  for (const response of [
    await call("GET", `${path}?format=csv`),
    await call("GET", path, undefined, { Accept: "text/csv" }),
  ]) {
    expect(response.headers.get("Content-Type")).toContain("text/csv");
    const [header, first, second] = (await response.text()).split("\n");
    expect(header).toBe(
      "step,trainLoss,gradNorm,learningRate,tokens,valLoss,committedMs,trainNatsPerByte,valNatsPerByte,results,chain,leaseMs,pullMs,computeMs,pushMs,commitMs,pulledBytes,pushedBytes",
    );
    expect(first).toMatch(
      /^0,1,[\d.]+,0.03,256,1,\d+,1,1,[0-9a-f]{64},[0-9a-f]{64},0,0,0,0,\d+,0,0$/,
    );
    expect(second).toMatch(
      /^1,1,[\d.]+,[\d.e-]+,512,,\d+,1,,[0-9a-f]{64},[0-9a-f]{64},0,0,0,0,\d+,0,0$/,
    );
  }
  await problemOf(
    await call("GET", `${path}?format=xml`),
    422,
    "invalid_option",
  );
});

test("events go on after Last-Event-ID, and 204 says that there are no more", async () => {
  const { run } = await startRun({ steps: 1 });
  await finish(run);
  const path = `/v1/runs/${run.run}/events`;
  const all = await (await call("GET", path)).text();
  const ids = [...all.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
  expect(ids).toEqual(ids.map((_, index) => index + 1));
  const middle = ids.length - 2;
  const rest = await (
    await call("GET", path, undefined, { "Last-Event-ID": `${middle}` })
  ).text();
  expect(rest).toContain(`id: ${middle + 1}\n`);
  expect(rest).not.toContain(`id: ${middle}\n`);
  const none = await call("GET", path, undefined, {
    "Last-Event-ID": `${ids.length}`,
  });
  expect(none.status).toBe(204);
  await problemOf(
    await call("GET", path, undefined, { "Last-Event-ID": "x" }),
    422,
    "invalid_number",
  );
});

test("a checkpoint is safetensors with GPT-2's names, of its Content-Length, in any state", async () => {
  const trainer = await startScripted({ shards: 3 });
  const path = `/v1/runs/${trainer.run.run}/checkpoint`;
  const response = await call("GET", path);
  const bytes = new Uint8Array(await response.arrayBuffer());
  expect(response.headers.get("Content-Length")).toBe(`${bytes.length}`);
  const { tensors, metadata } = readSafetensors(bytes);
  expect(metadata.get("mxfp4-edge.step")).toBe("0");
  expect(tensors.map(({ name }) => name)).toContain(
    "transformer.h.0.attn.c_attn.weight",
  );
  await trainer.reach(1);
  await trainer.run.setState("paused");
  const later = await call("GET", path);
  const file = readSafetensors(new Uint8Array(await later.arrayBuffer()));
  expect(file.metadata.get("mxfp4-edge.step")).toBe("1");
  expect(file.tensors[0]!.bytes).not.toEqual(tensors[0]!.bytes);
  await problemOf(await call("GET", `${path}?x=1`), 422, "invalid_option");
});

test("checkpoints taken while training are of one step each", async () => {
  const { run } = await startRun({ steps: 5, shards: 3, microbatches: 2 });
  const training = finish(run, ["one", "two"]);
  const seen = new Map<string, Uint8Array>();
  let isOver = false;
  void training.finally(() => (isOver = true)).catch(() => {});
  while (!isOver) {
    const response = await run.checkpoint();
    const bytes = new Uint8Array(await response.arrayBuffer());
    const step = readSafetensors(bytes).metadata.get("mxfp4-edge.step")!;
    // Two of the same step are the same bytes: neither mixes steps.
    expect(seen.get(step) ?? bytes).toEqual(bytes);
    seen.set(step, bytes);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await training;
  expect(seen.size).toBeGreaterThan(1);
});

test("a run whose trainers need more than an isolate has is not hosted, and can be joined", async () => {
  const { run } = await startRun({
    model: { layers: 4, width: 128, heads: 4, context: 64 },
    sequences: 256,
  });
  const problem = await problemOf(
    await callJson("POST", `/v1/runs/${run.run}/trainers`, { count: 1 }),
    422,
    "invalid_config",
  );
  expect(problem.detail).toMatch(
    /at most 67108864 bytes.*got \d+; a run with \{"microbatches":\d+,"sequences":\d+\} fits/,
  );
  expect((await run.joinToken()).token).toContain(run.run);
});

test("a join token opens its run, and trainers by count are refused out of bounds", async () => {
  const { run } = await startRun();
  expect(await run.joinToken()).toMatchObject({
    token: expect.stringContaining(run.run) as string,
  });
  for (const body of [{ count: 0 }, { count: 17 }, { join: false }, {}]) {
    await problemOf(
      await callJson("POST", `/v1/runs/${run.run}/trainers`, body),
      422,
      "invalid_config",
    );
  }
});

test.each([
  [
    { momentum: 0.9, name: "adamw" },
    "`optimizer.momentum` with optimizer muon",
  ],
  [{ cooldownSteps: 3 }, "`optimizer.cooldownSteps` with schedule constant"],
])("optimizer %j is refused, as it makes no sense", async (optimizer, part) => {
  const dataset = await newCorpus();
  const problem = await problemOf(
    await callJson("POST", "/v1/runs", {
      dataset,
      model: TINY.model,
      optimizer,
    }),
    422,
    "invalid_config",
  );
  expect(problem.detail).toContain(part);
});
