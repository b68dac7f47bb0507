import {
  evictDurableObject,
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { RunEvent } from "../../src/api/run-metrics.ts";
import { EventLog } from "../../src/objects/run/event-log.ts";
import { StepLeases } from "../../src/objects/run/step-leases.ts";
import { TrainerRoster } from "../../src/objects/run/trainer-roster.ts";
import { TrainerStore } from "../../src/objects/run/trainer-store.ts";
import { RUN_SCHEMA } from "../../src/objects/run/run-schema.ts";
import { OWNER } from "../../src/objects/platform/author.ts";
import { runStub } from "../../src/objects/run/run.ts";
import {
  bindings,
  FINGERPRINT,
  keyOf,
  startRun,
  ScriptedTrainer,
  startScripted,
} from "../support/run.ts";

afterEach(reset);

function stubOf(run: string) {
  return bindings.RUN.getByName(run);
}

function identity(trainer: string, bootId: string) {
  return { trainer, bootId, fingerprint: FINGERPRINT };
}

const EIGHT = Array.from(
  { length: 8 },
  (_, index) => ({ kind: "train", index }) as const,
);

function holder(trainer: string) {
  return { trainer, bootId: "a", author: `owner.${trainer}` };
}

test("an evicted run knows its step, its completions and its trainers' fingerprint", async () => {
  const trainer = await startScripted();
  await trainer.reach(1);
  await trainer.doLease();
  const before = await trainer.run.status();
  await evictDurableObject(stubOf(trainer.run.run));
  expect(await trainer.run.status()).toEqual(before);
  await expect(
    trainer.run.lease({ ...trainer.identity, fingerprint: "other" }),
  ).rejects.toMatchObject({ code: "fingerprint_differs" });
  // Microbatch 0 is done, and stays done.
  const { lease } = await trainer.run.lease(trainer.identity);
  expect(lease).toMatchObject({ kind: "train", step: 1, index: 1 });
});

test("an alarm goes on with a commit that a crash interrupted", async () => {
  const trainer = await startScripted({ shards: 2, microbatches: 1 });
  const { lease } = await trainer.run.lease(trainer.identity);
  await trainer.pushFor(lease!, 0.5);
  await trainer.complete(lease!);
  const stub = stubOf(trainer.run.run);
  // As a crash leaves it: the update is decided, and one of the two shards has applied it.
  const learningRates = { matrix: 0.01, embedding: 0.01, vector: 0.01 };
  const update = { step: 0, clipCoefficient: 0.25, learningRates };
  await runInDurableObject(stub, (_object, state) => {
    state.storage.sql.exec(
      "INSERT INTO commits VALUES (0, 0.25, 0.01, 4, 1, 64, 0, ?, 1, NULL, NULL, NULL)",
      JSON.stringify(learningRates),
    );
  });
  const shard = bindings.PARAMETER_SHARD.getByName(`${trainer.run.run}/0`);
  const [digest] = await trainer.digests(lease!, 0.5);
  await (
    shard as unknown as {
      apply(change: typeof update, taken: string[]): Promise<unknown>;
    }
  ).apply(update, [digest!]);
  await evictDurableObject(stub);

  expect(await runDurableObjectAlarm(stub)).toBe(true);
  expect((await trainer.run.status()).step).toBe(1);
  for (const { index } of trainer.status.shards) {
    expect((await trainer.run.pull(index, 1)).step).toBe(1);
  }
});

test("a new boot of a trainer gets at once what the old one held", async () => {
  const { run } = await startRun({
    microbatches: 1,
    evaluation: { interval: 1, microbatches: 1 },
  });
  const first = await run.lease(identity("one", "a"));
  const second = await run.lease(identity("two", "a"));
  expect([first.lease?.kind, second.lease?.kind]).toEqual(["train", "eval"]);
  // Without the boot it would wait in vain, as the next test's third trainer does.
  const again = await run.lease(identity("one", "b"));
  expect(again.lease).toMatchObject({ kind: "train", index: 0 });
  const changes: unknown[] = [];
  for await (const event of run.events()) {
    if (event.type === "trainer") changes.push([event.trainer, event.change]);
    if (changes.length === 3) break;
  }
  expect(changes).toEqual([
    ["one", "joined"],
    ["two", "joined"],
    ["one", "restarted"],
  ]);
});

test("a wait for a lease is bounded, and one for which there is work ends before", async () => {
  const runs = [(await startRun()).run, (await startRun()).run] as const;
  for (const run of runs) await run.setState("paused");
  const [bounded, woken] = runs.map((run) => run.lease(identity("one", "a")));
  await runs[1].setState("running");
  expect(await Promise.race([bounded, woken])).toMatchObject({
    state: "running",
    lease: { kind: "train", step: 0 },
  });
  expect(await bounded).toEqual({ state: "paused", lease: null });
}, 60_000);

test("an idle trainer computes what one holds of whom nothing is known, and the step is counted once", async () => {
  const idle = await startScripted({ microbatches: 1 });
  await idle.reach(1);
  const other = { ...idle.identity, trainer: "other" };
  const { lease } = await idle.run.lease(other);
  expect((await idle.run.lease(idle.identity)).lease).toMatchObject({
    ...lease,
    deadlineMs: expect.any(Number) as number,
    // Each has its own.
    key: expect.stringMatching(/^owner\.scripted:/) as string,
  });
  await idle.push(1, 0, 0.5);
  const own = await idle.run.lease(idle.identity);
  expect(await idle.complete(own.lease!)).toMatchObject({ duplicate: false });
  // The one that is late has the same bytes, and goes on.
  const digests = await idle.digests(lease!, 0.5);
  const late = {
    trainer: "other",
    bootId: "boot",
    lossSum: 64,
    tokens: 64,
    digests,
  };
  expect(await idle.run.complete(lease!, late)).toMatchObject({
    duplicate: true,
    lease: { step: 2 },
  });
  const metrics = await idle.run.metrics();
  expect(metrics[1]).toMatchObject({ tokens: 128, trainLoss: 1 });
});

test("who asks for a lease ahead has it with the next one", async () => {
  const one = await startScripted();
  const ahead = async (trainer = one) => {
    const { lease, ahead } = await one.run.lease({
      ...trainer.identity,
      ahead: true,
    });
    return [lease?.index, ahead?.index];
  };
  // Nothing is known of it yet.
  expect(await ahead()).toEqual([0, undefined]);
  await one.reach(1);
  expect(await ahead()).toEqual([0, 1]);
  expect(await ahead()).toEqual([0, 1]);
  expect((await one.run.lease(one.identity)).ahead).toBeUndefined();

  const { lease } = await one.run.lease(one.identity);
  await one.pushFor(lease!, 0.5);
  const { trainer, bootId } = one.identity;
  const completion = {
    trainer,
    bootId,
    lossSum: 64,
    tokens: 64,
    digests: await one.digests(lease!, 0.5),
    ahead: true,
  };
  const answer = await one.run.complete(lease!, completion);
  expect(answer).toMatchObject({ lease: { index: 1 }, ahead: { index: 2 } });
  // Each has a key of its own.
  await one.pushFor(answer.ahead!, 0.5);
  expect(await one.complete(answer.ahead!)).toMatchObject({
    lease: answer.lease,
  });

  const two = new ScriptedTrainer(one.run, one.status, "two");
  expect(await ahead(two)).toEqual([3, undefined]);
});

test.each([
  [2, 1],
  [3, undefined],
])(
  "beside %i trainers that have nothing, the lease ahead of four is %j",
  async (idle, index) => {
    const one = await startScripted();
    await runInDurableObject(stubOf(one.run.run), (_object, { storage }) => {
      const store = new TrainerStore(storage.sql);
      const roster = new TrainerRoster(store, new EventLog(storage.sql));
      for (let name = 0; name < idle; name++)
        roster.checkIn(holder(`${name}`), null, Date.now());
    });
    await evictDurableObject(stubOf(one.run.run));
    await one.reach(1);
    const asked = { ...one.identity, ahead: true };
    const { lease, ahead } = await one.run.lease(asked);
    expect([lease?.index, ahead?.index]).toEqual([0, index]);
  },
);

test("trainers that take leases and never complete hold up nobody", async () => {
  const honest = await startScripted({ steps: 6 });
  await honest.reach(1);
  for (const name of ["a", "b", "c", "d"]) {
    await honest.run.lease(identity(name, "gone"));
  }
  const beginMs = Date.now();
  await honest.reach(4);
  // Their leases last 5 s at least, in each of the three steps.
  expect(Date.now() - beginMs).toBeLessThan(15_000);
});

test("a lease that lapsed costs its trainer the next, for longer each time, until it completes one", async () => {
  const { run } = await startRun({ microbatches: 1 });
  const stub = stubOf(run.run);
  const roster = (body: (roster: TrainerRoster) => unknown) =>
    runInDurableObject(stub, (_object, { storage }) => {
      const store = new TrainerStore(storage.sql);
      body(new TrainerRoster(store, new EventLog(storage.sql)));
    });
  await roster((trainers) => {
    trainers.checkIn(holder("one"), null, 0);
    const penalties = [0, 1, 2, 9].map(() => {
      trainers.lapsed("one", 0);
      return trainers.penaltyEndMs("one");
    });
    expect(penalties).toEqual([1000, 2000, 4000, 8000]);
  });
  await roster((trainers) => {
    for (let lapse = 0; lapse < 9; lapse++) trainers.lapsed("one", 0);
    expect(trainers.penaltyEndMs("one")).toBe(60_000);
    trainers.completed(holder("one"), "train", 10, 0);
    expect(trainers.penaltyEndMs("one")).toBe(0);
    trainers.lapsed("one", 0);
    expect(trainers.penaltyEndMs("one")).toBe(1000);
  });
});

test.each([
  ["have completed nothing cost an honest trainer no time", 0, [8, 8, 8, 8]],
  // Twice what is usual, since what they held is given up all at once: half of a step, once for each.
  ["have completed something cost it a wait, once", 1, [10, 10, 8, 8]],
])(
  "50 trainers that take a lease and vanish and %s",
  async (_what, completions, seconds) => {
    const { run } = await startRun();
    await runInDurableObject(stubOf(run.run), (_object, { storage }) => {
      const trainers = new TrainerRoster(
        new TrainerStore(storage.sql),
        new EventLog(storage.sql),
      );
      const crowd = Array.from({ length: 50 }, (_, name) => holder(`${name}`));
      const honest = holder("honest");
      for (const each of [honest, ...crowd]) trainers.checkIn(each, "node", 0);
      trainers.completed(honest, "train", 1000, 0);
      for (const each of crowd.slice(0, 16))
        for (let done = 0; done < completions; done++)
          trainers.completed(each, "train", 1000, 0);
      let nowMs = 0;
      const steps = seconds.map((_, step) => {
        const beganMs = nowMs;
        const leases = new StepLeases(step, EIGHT);
        const take = (each: typeof honest) =>
          leases.take(each, nowMs, trainers.pace);
        // The first eight of them get something; those of the next step have it in the last again.
        for (const each of [...crowd.slice(8 * (step % 2)), ...crowd])
          take(each);
        while (!leases.isDone) {
          const lease = take(honest);
          if (lease) {
            nowMs += 1000;
            leases.complete(lease);
          } else nowMs = leases.nextMs(nowMs, trainers.pace);
        }
        return (nowMs - beganMs) / 1000;
      });
      expect(steps).toEqual(seconds);
    });
  },
);

test("more names than a run remembers, each gone with a lease, and conflicts in a row cost an honest trainer no place and no lease, and the log no step", async () => {
  const honest = await startScripted();
  await honest.reach(1);
  const { run } = honest.run;
  const stub = runStub(bindings, run);
  const leased = { kind: "train", step: 0, index: 0 } as const;
  const key = await keyOf(run, leased);
  for (const step of [1, 2]) {
    await Promise.all(
      Array.from({ length: 150 }, (_, name) =>
        stub.lease(OWNER, identity(`name-${step}-${name}`, "gone")),
      ),
    );
    await Promise.all(
      Array.from({ length: 110 }, () => stub.reportConflict(OWNER, 0, 0, key)),
    );
    // Not after a wait: that ends without one.
    expect((await honest.run.lease(honest.identity)).lease).not.toBeNull();
    await honest.reach(step + 1);
  }
  const { trainers } = await honest.run.status();
  expect(trainers).toHaveLength(256);
  expect(trainers).toContainEqual(
    expect.objectContaining({ name: "scripted", completions: 3 * 4 + 2 * 2 }),
  );
  const kept = await runInDurableObject(stubOf(run), (_object, { storage }) =>
    new EventLog(storage.sql).after(0, 5000),
  );
  const steps = kept.flatMap((each) =>
    each.type === "step" ? [each.metrics.step] : [],
  );
  expect(steps).toEqual([0, 1, 2]);
  expect(kept.filter(({ type }) => type === "conflict")).toHaveLength(200);
  expect(kept.filter(({ type }) => type === "trainer")).toHaveLength(301);
});

test("a crowd that comes while a new trainer computes its first microbatch does not cost it that", async () => {
  const newcomer = await startScripted();
  const { lease } = await newcomer.run.lease(newcomer.identity);
  await newcomer.pushFor(lease!, 0.5);
  const stub = runStub(bindings, newcomer.run.run);
  await Promise.all(
    Array.from({ length: 300 }, (_, name) =>
      stub.lease(OWNER, identity(`name-${name}`, "gone")),
    ),
  );
  const named = async (): Promise<{ completions: number }[]> =>
    (await newcomer.run.status()).trainers.filter(
      ({ name }) => name === "scripted",
    );
  expect(await named()).toEqual([]);
  expect(await newcomer.complete(lease!)).toMatchObject({ duplicate: false });
  expect(await named()).toMatchObject([{ completions: 1 }]);
});

test("a new boot of one that is here drives out nobody", async () => {
  const { run } = await startRun();
  await runInDurableObject(stubOf(run.run), (_object, { storage }) => {
    const trainers = new TrainerRoster(
      new TrainerStore(storage.sql),
      new EventLog(storage.sql),
    );
    for (let name = 0; name < 256; name++)
      trainers.checkIn(holder(`name-${name}`), null, name);
    trainers.checkIn({ ...holder("name-7"), bootId: "b" }, null, 256);
    expect(trainers.statuses()).toHaveLength(256);
  });
});

test("what trainers usually take outlives an eviction", async () => {
  const trainer = await startScripted();
  await trainer.reach(1);
  const usual = () =>
    runInDurableObject(
      stubOf(trainer.run.run),
      (_object, { storage }) => new TrainerStore(storage.sql).all()[0]!.usual,
    );
  expect((await usual()).train).toBeGreaterThanOrEqual(0);
  await evictDurableObject(stubOf(trainer.run.run));
  expect((await usual()).train).toBeGreaterThanOrEqual(0);
});

test("who says that it goes leaves its lease to others at once", async () => {
  const trainer = await startScripted({ microbatches: 2 });
  await trainer.reach(1);
  const { lease } = await trainer.run.lease(trainer.identity);
  await trainer.run.leave({ ...trainer.identity, bootId: "another" });
  await trainer.run.leave(trainer.identity);
  await trainer.run.leave(trainer.identity);
  const next = await trainer.run.lease(identity("next", "a"));
  expect(next.lease).toMatchObject({ index: lease!.index });
  const changes: string[] = [];
  for await (const event of trainer.run.events()) {
    if (event.type === "trainer")
      changes.push(`${event.trainer} ${event.change}`);
    if (changes.length === 3) break;
  }
  expect(changes).toEqual(["scripted joined", "scripted left", "next joined"]);
});

test("thousands of names drive out no trainer that has completed something", async () => {
  const { run } = await startRun();
  await runInDurableObject(stubOf(run.run), (_object, { storage }) => {
    const trainers = new TrainerRoster(
      new TrainerStore(storage.sql),
      new EventLog(storage.sql),
    );
    trainers.checkIn(holder("honest"), "node", 0);
    trainers.completed(holder("honest"), "train", 10, 0);
    for (let name = 0; name < 2700; name++) {
      trainers.checkIn(holder(`name-${name}`), null, name + 1);
    }
    expect(trainers.statuses()).toHaveLength(256);
    expect(trainers.isCurrentBoot("honest", "a")).toBe(true);
    expect(trainers.isCurrentBoot("name-2699", "a")).toBe(true);
    expect(trainers.isCurrentBoot("name-2000", "a")).toBe(false);
  });
});

test.each([
  ["more tokens than the microbatch has", { lossSum: 64, tokens: 4e9 / 4 }],
  ["fewer", { lossSum: 64, tokens: 63 }],
  ["none", { lossSum: 0, tokens: 0 }],
  ["a loss below zero", { lossSum: -4.8e-6, tokens: 64 }],
  ["a loss beyond f32", { lossSum: 1e300, tokens: 64 }],
])(
  "a completion that tells of %s is refused, and the microbatch stays open",
  async (_what, told) => {
    const trainer = await startScripted({ microbatches: 1 });
    const { lease } = await trainer.run.lease(trainer.identity);
    await trainer.push(0, 0, 0.5);
    const { fingerprint: _, ...who } = trainer.identity;
    const digests = await trainer.digests(lease!, 0.5);
    await expect(
      trainer.run.complete(lease!, { ...who, ...told, digests }),
    ).rejects.toMatchObject({ code: "invalid_number" });
    expect(await trainer.complete(lease!)).toMatchObject({ duplicate: false });
  },
);

test("an alarm tells once of a trainer that went silent, and its return is told too", async () => {
  const { run } = await startRun();
  await run.lease(identity("one", "a"));
  const stub = stubOf(run.run);
  // As if it had asked long ago, and the run had forgotten its lease since.
  await runInDurableObject(stub, (_object, state) => {
    state.storage.sql.exec("UPDATE trainers SET last_seen_ms = 0");
  });
  await evictDurableObject(stub);
  expect(await runDurableObjectAlarm(stub)).toBe(true);
  await runDurableObjectAlarm(stub);
  await run.lease(identity("one", "a"));
  const changes: string[] = [];
  for await (const event of run.events()) {
    if (event.type === "trainer") changes.push(event.change);
    if (changes.length === 3) break;
  }
  expect(changes).toEqual(["joined", "lost", "joined"]);
});

test("cancelling ends every wait", async () => {
  const { run } = await startRun();
  await run.setState("paused");
  const waiting = run.lease(identity("one", "a"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  await run.setState("cancelled");
  // Not "paused", which is what the end of a whole wait would say.
  expect(await waiting).toEqual({ state: "cancelled", lease: null });
});

test("an event log keeps the latest of each kind: none drives out another's", async () => {
  const stub = stubOf("event-log");
  const events = await runInDurableObject(stub, (_object, state) => {
    RUN_SCHEMA.create(state.storage.sql);
    const log = new EventLog(state.storage.sql);
    log.append({ type: "state", state: "running" });
    for (let step = 0; step < 1100; step++) {
      log.append({
        type: "evaluation",
        step,
        valLoss: 1,
        valNatsPerByte: 1,
        tokens: 1,
        bytes: 1,
      });
      log.append({
        type: "conflict",
        kind: "train",
        step,
        microbatch: 0,
        author: "a",
      });
      log.append({ type: "trainer", trainer: `${step}`, change: "joined" });
    }
    return log.after(0, 5000);
  });
  const counts: Record<string, number> = {};
  for (const { type } of events) counts[type] = (counts[type] ?? 0) + 1;
  expect(counts).toEqual({
    state: 1,
    evaluation: 1000,
    conflict: 200,
    trainer: 500,
  });
  const ids = events.map(({ id }: RunEvent) => id);
  expect(ids).toEqual(ids.toSorted((a, b) => a - b));
  expect(ids.at(-1)).toBe(3301);
});
