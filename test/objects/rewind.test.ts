/** States of the past: which are kept, what a run goes back to, and what an audit computes from them. */
import { evictDurableObject, reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { RunConfig } from "../../src/api/run-config.ts";
import type { RunEvent } from "../../src/api/run-metrics.ts";
import { auditAll, auditStep, probe } from "../../src/cli/audited-steps.ts";
import { RecomputedRun } from "../../src/cli/recomputed-steps.ts";
import type { StepRecord } from "../../src/api/run-metrics.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import { isKept } from "../../src/objects/shard/kept-states.ts";
import { checkpointBytes } from "../../src/training/checkpoint-file.ts";
import type { TrainingService } from "../../src/training/service.ts";
import { RunTrainer } from "../../src/training/trainer.ts";
import {
  bindings,
  clientOf,
  FINGERPRINT,
  finish,
  outcomeOf,
  startRun,
  startScripted,
  worker,
} from "../support/run.ts";

afterEach(reset);

const FALSE = 77;

function keptOf(latest: number, snapshotSteps: number, first = 0): number[] {
  const from = first > 0 ? { resumed: { step: first } } : undefined;
  const config = { snapshotSteps, from } as RunConfig;
  const steps = Array.from({ length: latest + 1 }, (_, step) => step);
  return steps.filter((step) => isKept({ config }, step, latest));
}

async function eventsOf(run: RunClient): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  for await (const event of run.events()) events.push(event);
  return events;
}

async function metadataOf(answer: Response): Promise<Map<string, string>> {
  const file = new Uint8Array(await answer.arrayBuffer());
  return readSafetensors(file).metadata as Map<string, string>;
}

test("of n snapshots about log2 n are kept, none that was dropped is wanted again, and the last two always are", () => {
  let before = new Set([0]);
  for (let latest = 1; latest < 400; latest++) {
    const kept = keptOf(latest, 3);
    expect(kept.length).toBeLessThanOrEqual(4 + Math.log2(1 + latest / 3));
    // The one of `latest` is new.
    expect(kept.filter((step) => step !== latest && !before.has(step))).toEqual(
      [],
    );
    expect(kept).toContain(0);
    if (latest > 3) expect(kept).toContain(3 * (Math.floor(latest / 3) - 1));
    before = new Set(kept);
  }
  expect(keptOf(107, 10, 5)).toEqual([0, 5, 40, 80, 90, 100, 107]);
});

test("a run that goes back ends in the bytes, the metrics and the digests of one that never did", async () => {
  const steps = 7;
  const plain = await startScripted({ steps, shards: 2 });
  await plain.reach(steps);
  const dataset = plain.status.config.dataset.name;
  // Nor do subtrees change anything, whose objects go back with their shards.
  const owner = await startScripted({ steps, shards: 2, dataset, subtree: 2 });
  const liar = await owner.stranger("liar");
  await owner.reach(4);
  const stale = (await owner.run.lease(owner.identity)).lease!;
  await owner.run.leave(owner.identity);
  const { lease } = await liar.run.lease(liar.identity);
  expect(lease!.rewinds).toBeUndefined();
  await liar.pushFor(lease!, FALSE);
  await liar.complete(lease!, FALSE);
  await owner.reach(6);
  expect(await owner.run.states()).toEqual([0, 4, 6]);
  await owner.run.setTokenState(lease!.key.split(":")[0]!, "revoked");

  await expect(owner.run.rewind(7)).rejects.toMatchObject({
    code: "future_step",
  });
  const back = await owner.run.rewind(5);
  expect(back).toMatchObject({ step: 4, state: "running" });
  // The answer may be lost: asking again is no other rewind, asking for more is one that cannot be.
  expect(await owner.run.rewind(5)).toEqual(back);
  await expect(owner.run.rewind(6)).rejects.toMatchObject({
    code: "future_step",
  });
  expect(await owner.run.states()).toEqual([0, 4]);
  const metrics = await owner.run.metrics();
  expect(metrics.map(({ step }) => step)).toEqual([0, 1, 2, 3]);
  // Leases of before are void, and the pushes that came of them.
  await expect(owner.complete(stale)).rejects.toMatchObject({
    code: "no_lease",
  });
  await expect(owner.pushFor(stale, FALSE)).rejects.toMatchObject({
    code: "no_lease",
  });
  for (const name of ["", "/0"]) {
    const object = name === "" ? bindings.RUN : bindings.PARAMETER_SHARD;
    await evictDurableObject(object.getByName(owner.run.run + name));
  }
  const again = await owner.run.lease(owner.identity);
  expect(again.lease).toMatchObject({ step: 4, rewinds: 1 });
  // Who has a lease of before asks in vain, and does not wait for the step to come again.
  await expect(owner.run.pull(0, 5, { rewinds: 0 })).rejects.toMatchObject({
    code: "step_gone",
  });
  expect((await owner.run.pull(0, 4, { rewinds: 1 })).step).toBe(4);
  await owner.reach(steps);
  expect(await outcomeOf(owner.run)).toEqual(await outcomeOf(plain.run));
  const results = async (run: RunClient) =>
    (await run.metrics()).map((each) => each.results);
  expect(await results(owner.run)).toEqual(await results(plain.run));

  await owner.run.setState("cancelled");
  const told = (await eventsOf(owner.run)).flatMap((event) =>
    event.type === "step"
      ? [event.metrics.step]
      : event.type === "rewind"
        ? ["back", event.step]
        : [],
  );
  expect(told).toEqual([0, 1, 2, 3, "back", 4, 4, 5, 6]);
  await expect(owner.run.rewind(0)).rejects.toMatchObject({
    code: "wrong_state",
  });
});

test("to the start, to where it is, while it is paused, twice in a row: it stays what it is", async () => {
  const owner = await startScripted({ steps: 5, snapshotSteps: 3 });
  await owner.reach(4);
  await owner.doLease(FALSE);
  await owner.run.setState("paused");
  // What was told of the present step is void too.
  expect(await owner.run.rewind(4)).toMatchObject({ step: 4, state: "paused" });
  expect((await owner.run.step(4)).microbatches).toEqual([]);
  expect((await owner.run.rewind(2)).step).toBe(0);
  expect((await owner.run.rewind(0)).step).toBe(0);
  await owner.run.setState("running");
  await owner.reach(5);
  const plain = await startScripted({
    steps: 5,
    snapshotSteps: 3,
    dataset: owner.status.config.dataset.name,
  });
  await plain.reach(5);
  expect(await outcomeOf(owner.run)).toEqual(await outcomeOf(plain.run));
});

test("a checkpoint says what its steps came to, the same whoever trained; who told so where it is asked", async () => {
  const plain = await startRun({ steps: 4 });
  await finish(plain.run);
  const dataset = plain.status.config.dataset.name;
  const other = await startRun({ steps: 4, shards: 3, dataset });
  await finish(other.run, ["a", "b"]);
  const { results, chain } = (await other.run.metrics())[3]!;
  for (const { run } of [plain, other])
    for (const state of ["parameters", "full"] as const) {
      const own = await metadataOf(await run.checkpoint({ state }));
      expect(own.get("mxfp4-edge.results")).toBe(results);
      expect(own.has("mxfp4-edge.chain")).toBe(false);
    }
  const asked = await worker.fetch(
    `http://127.0.0.1:8787/v1/runs/${other.run.run}/checkpoint?chain=authors`,
  );
  expect((await metadataOf(asked)).get("mxfp4-edge.chain")).toBe(chain);

  // Of a step of the past, as it was then: in any of the shards' cuts.
  const past = async ({ run }: typeof plain, step: number) => {
    const answer = await run.checkpoint({ state: "full", step });
    return new Uint8Array(await answer.arrayBuffer());
  };
  for (const step of [0, 2])
    expect(await past(plain, step)).toEqual(await past(other, step));
  await expect(past(plain, 1)).rejects.toMatchObject({ code: "step_gone" });
  await expect(past(plain, 5)).rejects.toMatchObject({ code: "future_step" });

  // Resumed from there, the run ends in the same bytes, digests among them.
  const folder = `state-${crypto.randomUUID()}`;
  const file = `${folder}/model.safetensors`;
  await worker.fetch(`http://127.0.0.1:8787/v1/files/${file}`, {
    method: "PUT",
    body: (await past(plain, 2)) as Uint8Array<ArrayBuffer>,
  });
  const resumed = await startRun({
    steps: 4,
    dataset,
    from: folder,
    resume: true,
    shards: 2,
  });
  await finish(resumed.run);
  expect((await resumed.run.metrics()).map((each) => each.results)).toEqual(
    (await plain.run.metrics()).slice(2).map((each) => each.results),
  );
  expect((await outcomeOf(resumed.run)).checkpoint).toEqual(
    (await outcomeOf(plain.run)).checkpoint,
  );
  const audited = await RecomputedRun.open(resumed.run);
  expect(await auditAll(audited)).toEqual({
    last: 4,
    first: null,
    computed: 3,
  });
});

/** Of one that pulls, computes and pushes as it should, but at some steps with other signs. */
function faulty(honest: RunClient, lies: (step: number) => boolean) {
  const service: TrainingService = {
    status: () => honest.status(),
    lease: (request) => honest.lease(request),
    complete: (lease, completion) => honest.complete(lease, completion),
    push: (shard, lease, frame) => honest.push(shard, lease, frame),
    tokens: (dataset, start, length) => honest.tokens(dataset, start, length),
    tokenizer: (dataset) => honest.tokenizer(dataset),
    async pull(shard, step) {
      const frame = await honest.pull(shard, step);
      if (lies(step))
        for (let sign = 1; sign < 1000; sign += 2) frame.payload[sign]! ^= 0x80;
      return frame;
    },
  };
  return service;
}

test("an audit computes any step of a run, and says which are true", async () => {
  const { run } = await startRun({ steps: 8, shards: 2 });
  await finish(run);
  const open = () => RecomputedRun.open(run);
  expect((await open()).states).toEqual([0, 4, 6]);
  expect(await auditAll(await open())).toEqual({
    last: 8,
    first: null,
    computed: 9,
  });
  expect(await auditStep(await open(), 5)).toEqual({
    last: 5,
    first: null,
    computed: 2,
  });
  expect(await auditStep(await open(), 8)).toEqual({
    last: 8,
    first: null,
    computed: 3,
  });
  expect(await probe(await open())).toEqual({
    last: 8,
    first: null,
    computed: 4,
  });
  await expect(auditStep(await open(), 9)).rejects.toThrow("up to 8");
  // From a state that somebody has, which must be the run's.
  const answer = await run.checkpoint({ state: "full", step: 4 });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const state = await checkpointBytes(bytes);
  expect(await (await open()).firstFalse(4, 5, state)).toBeNull();
  await expect((await open()).firstFalse(5, 5, state)).rejects.toThrow(
    "or of step 4",
  );
  const other = await startRun({ steps: 8, seed: 2 });
  const foreign = await RecomputedRun.open(other.run);
  await expect(foreign.firstFalse(4, 4, state)).rejects.toThrow(
    "of another config",
  );
});

test("an audit finds the first step of one who lies from some step on, and whose it is", async () => {
  const { run } = await startRun({ steps: 12, shards: 2 });
  const { token, id } = await run.joinToken();
  const own = clientOf(worker, token).run(run.run);
  await finish(faulty(own, (step) => step >= 7));
  const open = () => RecomputedRun.open(run);
  const first = {
    step: 7,
    microbatches: [0, 1, 2, 3].map((index) => ({ index, authors: [id] })),
  };
  // States of 0, 8 and 10 are there: 10 and 8 are false, 0 is true, and then 0 to 7 in turn.
  expect((await open()).states).toEqual([0, 8, 10]);
  expect((await probe(await open())).first).toMatchObject(first);
  expect((await auditAll(await open())).first).toMatchObject(first);
  expect((await auditStep(await open(), 7)).first).toMatchObject(first);
  expect((await auditStep(await open(), 6)).first).toBeNull();
  // A step that builds on lies and tells none.
  expect((await auditStep(await open(), 8)).first).toMatchObject({ step: 8 });
});

test("what an audit finds is taken back and trained again, and then it finds nothing: while others train, and at the end", async () => {
  const config = { steps: 6, shards: 2 };
  const plain = await startRun(config);
  await finish(plain.run);
  const dataset = plain.status.config.dataset.name;
  const second = await startRun({ ...config, dataset });
  const joined = await second.run.joinToken();
  const own = clientOf(worker, joined.token).run(second.run.run);
  const stop = new AbortController();
  const lying = new RunTrainer(
    faulty(own, (step) => step >= 4),
    { trainer: "liar", bootId: "a", fingerprint: FINGERPRINT },
  );
  await lying.train({
    signal: stop.signal,
    onCompleted: ({ step }) => step === 5 && stop.abort(),
  });
  const found = await auditAll(await RecomputedRun.open(second.run));
  expect(found.first).toMatchObject({
    step: 4,
    microbatches: [0, 1, 2, 3].map((index) => ({
      index,
      authors: [joined.id],
    })),
  });
  await second.run.setTokenState(joined.id, "revoked");
  expect((await second.run.rewind(4)).step).toBe(4);
  const again = async () => auditAll(await RecomputedRun.open(second.run));
  expect(await again()).toMatchObject({ last: 3, first: null });
  const training = finish(second.run, ["honest"]);
  expect((await again()).first).toBeNull();
  await training;
  expect(await again()).toEqual({ last: 6, first: null, computed: 7 });
  expect(await outcomeOf(second.run)).toEqual(await outcomeOf(plain.run));
});

test("an audit sees a false loss of an evaluation, of the last one too, and what the edge's own sums do not give", async () => {
  const { run } = await startRun({ steps: 2, evaluation: { interval: 2 } });
  await finish(run);
  expect(await auditStep(await RecomputedRun.open(run), 2)).toMatchObject({
    first: null,
  });
  // What the edge tells of a step is changed on its way.
  const telling = (change: Partial<RunClient>) => {
    const passed = (name: keyof RunClient) =>
      [
        name,
        (...given: unknown[]) =>
          (run[name] as (...all: unknown[]) => unknown)(...given),
      ] as const;
    const all = (
      ["states", "status", "metrics", "step", "checkpoint", "tokens"] as const
    ).map(passed);
    return RecomputedRun.open(
      Object.assign(
        Object.create(run) as RunClient,
        Object.fromEntries(all),
        change,
      ),
    );
  };
  const metrics = await run.metrics();
  const better = metrics.map((each) => ({ ...each, valLoss: 0.1 }));
  const lying = await telling({ metrics: () => Promise.resolve(better) });
  expect((await auditStep(lying, 2)).first).toMatchObject({
    step: 0,
    evaluation: true,
  });
  const record = await run.step(1);
  const tellingStep = (change: Partial<StepRecord>) =>
    telling({
      step: (step) =>
        step === 1 ? Promise.resolve({ ...record, ...change }) : run.step(step),
    });
  const commit = { ...record.commit!, results: "0".repeat(64) };
  expect((await auditAll(await tellingStep({ commit }))).first).toEqual({
    step: 1,
    microbatches: [],
    chain: true,
  });
  // Nor may it tell another beginning of the step, or other digests in its metrics.
  const before = { ...record.commit!.before, results: "0".repeat(64) };
  const begun = await tellingStep({ commit: { ...record.commit!, before } });
  expect((await begun.firstUnlinked())?.step).toBe(1);
  const unlike = metrics.map((each) =>
    each.step === 1 ? { ...each, chain: "0".repeat(64) } : each,
  );
  const measured = await telling({ metrics: () => Promise.resolve(unlike) });
  expect((await measured.firstUnlinked())?.step).toBe(1);
  // Each alone is enough: the gradient's digest, the loss sum, the counts.
  for (const lie of [
    { digests: ["0".repeat(64)] },
    { lossSum: 1 },
    { tokens: 63 },
    { bytes: 63 },
  ]) {
    const microbatches = record.microbatches.map((each) =>
      each.index === 2 ? { ...each, ...lie } : each,
    );
    const told = await tellingStep({ microbatches });
    expect((await told.firstFalse(0, 1))?.microbatches).toEqual([
      { index: 2, authors: ["owner.one"] },
    ]);
  }
  // A state before which other things came to pass.
  const answer = await run.checkpoint({ state: "full", step: 0 });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const text = Buffer.from(bytes).toString("latin1");
  const { results } = (await run.step(0)).commit!.before;
  const another = Buffer.from(text.replace(results, "0".repeat(64)), "latin1");
  const state = await checkpointBytes(new Uint8Array(another));
  const open = await RecomputedRun.open(run);
  await expect(open.firstFalse(0, 0, state)).rejects.toThrow(
    "Expected a state with the run's `results` before it",
  );
});
