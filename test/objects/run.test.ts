import {
  evictDurableObject,
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { RunEvent } from "../../src/api/types.ts";
import { EventLog } from "../../src/objects/run/event-log.ts";
import { RUN_SCHEMA } from "../../src/objects/run/run-schema.ts";
import {
  bindings,
  FINGERPRINT,
  startRun,
  startScripted,
} from "../support/run.ts";

afterEach(reset);

function stubOf(run: string) {
  return bindings.RUN.getByName(run);
}

function identity(trainer: string, bootId: string) {
  return { trainer, bootId, fingerprint: FINGERPRINT };
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
  await trainer.push(0, 0, 0.5);
  const stub = stubOf(trainer.run.run);
  // As a crash leaves it: the update is decided, and one of the two shards has applied it.
  const learningRates = { matrix: 0.01, embedding: 0.01, vector: 0.01 };
  const update = { step: 0, clipCoefficient: 0.25, learningRates };
  await runInDurableObject(stub, (_object, state) => {
    state.storage.sql.exec(
      "INSERT INTO commits VALUES (0, 0.25, 0.01, 4, 1, 64, 0, ?, 1)",
      JSON.stringify(learningRates),
    );
  });
  const shard = bindings.PARAMETER_SHARD.getByName(`${trainer.run.run}/0`);
  await (
    shard as unknown as { apply(change: typeof update): Promise<unknown> }
  ).apply(update);
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

test("a wait for a lease is bounded, and a lease that comes free ends it", async () => {
  const { run } = await startRun({
    microbatches: 1,
    evaluation: { interval: 1, microbatches: 1 },
  });
  await run.lease(identity("one", "a"));
  await run.lease(identity("two", "a"));
  expect(await run.lease(identity("three", "a"))).toEqual({
    state: "running",
    lease: null,
  });

  const waits = [
    run.lease(identity("three", "a")),
    run.lease(identity("one", "b")),
  ];
  // One of them gets what the old boot held, at once; the other goes on waiting.
  const { lease } = await Promise.race(waits);
  expect(lease).toMatchObject({ kind: "train", index: 0 });
  await run.setState("cancelled");
  await Promise.all(waits);
}, 60_000);

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

test("an event log keeps the latest thousand", async () => {
  const stub = stubOf("event-log");
  const events = await runInDurableObject(stub, (_object, state) => {
    RUN_SCHEMA.create(state.storage.sql);
    const log = new EventLog(state.storage.sql);
    for (let i = 0; i < 1100; i++)
      log.append({ type: "state", state: "paused" });
    return log.after(0, 5000);
  });
  expect(events).toHaveLength(1000);
  expect(events.map(({ id }: RunEvent) => id).slice(0, 2)).toEqual([101, 102]);
  expect(events.at(-1)!.id).toBe(1100);
});
