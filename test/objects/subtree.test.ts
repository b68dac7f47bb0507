/** Pushes that go to objects of their own, which give a shard their sums. */
import {
  evictAllDurableObjects,
  evictDurableObject,
  reset,
  runInDurableObject,
} from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { Fetcher } from "../../src/client/http.ts";
import { isolateMemory } from "../../src/memory/ledger.ts";
import {
  bindings,
  clientOf,
  keyOf,
  ScriptedTrainer,
  startRun,
  startScripted,
  worker,
} from "../support/run.ts";

afterEach(reset);

/** Values whose sums differ by the order in which they are added. */
const valueOf = (step: number, microbatch: number): number =>
  (step + 1) * 0.1 + microbatch * 1e-7;

function stubOf({ status }: ScriptedTrainer, subtree: number, shard = 0) {
  const id = bindings.PARAMETER_SHARD.idFromName(`${status.run}/${shard}`);
  return bindings.SUBTREE.getByName(`${id.toString()}/${subtree}`);
}

/** Rows of each table of a subtree that has any. */
function rowsOf(
  trainer: ScriptedTrainer,
  subtree: number,
): Promise<Record<string, number>> {
  return runInDurableObject(stubOf(trainer, subtree), (_object, state) => {
    const { sql } = state.storage;
    const count = (table: string) =>
      sql.exec<{ n: number }>(`SELECT COUNT(*) AS n FROM ${table}`).one().n;
    const names = sql
      .exec<{ name: string }>(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('subtree', 'pushes', 'push_authors', 'slices')",
      )
      .toArray();
    return Object.fromEntries(
      names
        .map(({ name }) => [name, count(name)] as const)
        .filter(([, rows]) => rows > 0),
    );
  });
}

/** All microbatches of the present step, and what else it asks for. */
async function step(trainer: ScriptedTrainer): Promise<void> {
  const before = (await trainer.run.status()).step;
  let { lease } = await trainer.run.lease(trainer.identity);
  while (lease && lease.step === before) {
    const value = valueOf(lease.step, lease.index);
    if (lease.kind === "train") await trainer.pushFor(lease, value);
    ({ lease } = await trainer.complete(lease, value));
  }
}

const SMALL = {
  microbatches: 5,
  steps: 3,
  evaluation: { interval: 100, microbatches: 1 },
};

test("with every object evicted before each call, sums of subtrees come to the bytes of one tree", async () => {
  const plain = await startScripted(SMALL);
  for (let at = 0; at < 2; at++) await step(plain);
  const { digest } = await plain.run.pull(0, 2);
  const evicting: Fetcher = {
    async fetch(url, init) {
      await evictAllDurableObjects();
      return worker.fetch(url, init);
    },
  };
  const { run, status } = await startRun(
    { ...SMALL, gradientDtype: "f32", subtree: 2 },
    clientOf(evicting),
  );
  const trainer = new ScriptedTrainer(run, status);
  for (let at = 0; at < 2; at++) await step(trainer);
  expect((await run.pull(0, 2)).digest).toBe(digest);
});

test("a subtree has pushes until their step is committed, then their digests, and nothing once the run has ended or gone", async () => {
  const held = isolateMemory.heldBytes;
  const trainer = await startScripted({ ...SMALL, subtree: 2 });
  await trainer.push(0, 2, valueOf(0, 2));
  expect(await rowsOf(trainer, 1)).toEqual({
    subtree: 1,
    pushes: 1,
    push_authors: 1,
    slices: 1,
  });
  expect(await rowsOf(trainer, 0)).toEqual({ subtree: 1 });
  // What an author has pushed goes with its token.
  const stranger = await trainer.stranger("gone");
  const [token] = await trainer.run.joinTokens();
  const { id } = token!;
  const leased = { kind: "train", step: 0, index: 0 } as const;
  const key = await keyOf(trainer.run.run, leased, "gone", id);
  await stranger.pushFor({ ...leased, key, deadlineMs: 0 }, 77);
  expect(await rowsOf(trainer, 0)).toMatchObject({ pushes: 1, slices: 1 });
  await trainer.run.setTokenState(id, "revoked");
  await expect.poll(() => rowsOf(trainer, 0)).toEqual({ subtree: 1 });
  await step(trainer);
  expect(await rowsOf(trainer, 1)).toEqual({ subtree: 1, pushes: 2 });
  // As a shard answers: the same bytes are a duplicate for good, others are not those that were committed.
  await trainer.push(0, 2, valueOf(0, 2));
  await evictDurableObject(stubOf(trainer, 1));
  await expect(trainer.push(0, 2, 77)).rejects.toMatchObject({
    code: "different_bytes",
  });
  await expect(trainer.push(2, 2, 77)).rejects.toMatchObject({
    code: "future_step",
  });
  await trainer.run.setState("cancelled");
  expect(await rowsOf(trainer, 1)).toEqual({ subtree: 1 });
  await expect(trainer.push(1, 2, 77)).rejects.toMatchObject({
    code: "run_ended",
  });
  await trainer.run.remove();
  for (const index of [0, 1, 2])
    expect(await rowsOf(trainer, index)).toEqual({});
  expect(isolateMemory.heldBytes).toBe(held);
});

test("a key that was changed to tell of other subtrees, or of none, opens none of them", async () => {
  const trainer = await startScripted({ ...SMALL, subtree: 2 });
  const leased = { kind: "train", step: 0, index: 2 } as const;
  const [author, signature] = (await keyOf(trainer.run.run, leased)).split(":");
  const push = (end: string) => {
    const key = `${author}:${signature}${end}`;
    return trainer.pushFor({ ...leased, key, deadlineMs: 0 }, 0.5);
  };
  for (const end of ["", ":4", ":3", ":2.5", ":0", ":x"])
    await expect(push(end), end).rejects.toMatchObject({ code: "no_lease" });
  await push(":2");
  const plain = await startScripted(SMALL);
  const key = `${await keyOf(plain.run.run, leased)}:2`;
  await expect(
    plain.pushFor({ ...leased, key, deadlineMs: 0 }, 0.5),
  ).rejects.toMatchObject({ code: "shard_not_found" });
});

test("a shard has the sum of a subtree that is whole before a commit asks, and asks for what it has not", async () => {
  const trainer = await startScripted({ ...SMALL, subtree: 2 });
  const sums = () =>
    runInDurableObject(
      bindings.PARAMETER_SHARD.getByName(`${trainer.status.run}/0`),
      (_object, { storage }) =>
        storage.sql
          .exec<{ microbatch: number }>("SELECT microbatch FROM pushes")
          .toArray()
          .map(({ microbatch }) => microbatch),
    );
  for (const index of [0, 2, 3])
    await trainer.push(0, index, valueOf(0, index));
  await expect.poll(sums).toEqual([1]);
  // What it was told ahead of time it forgets, as if it had never heard of it.
  await runInDurableObject(
    bindings.PARAMETER_SHARD.getByName(`${trainer.status.run}/0`),
    (_object, { storage }) => {
      for (const table of ["pushes", "push_authors", "slices"])
        storage.sql.exec(`DELETE FROM ${table}`);
    },
  );
  await step(trainer);
  expect(await sums()).toEqual([0, 1, 2]);
});
