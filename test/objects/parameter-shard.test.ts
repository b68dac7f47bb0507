import { evictDurableObject, reset, runInDurableObject } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import { SHARD_SCHEMA } from "../../src/objects/shard/shard-schema.ts";
import { FRAME_HEADER_BYTES } from "../../src/api/frame.ts";
import type { RunStatus } from "../../src/api/run-status.ts";
import { isolateMemory } from "../../src/memory/ledger.ts";
import { modelOf } from "../../src/model/architectures.ts";
import {
  bindings,
  finish,
  outcomeOf,
  type ScriptedTrainer,
  startRun,
  startScripted,
} from "../support/run.ts";

afterEach(reset);

function stubOf({ run }: Pick<RunStatus, "run">, shard = 0) {
  return bindings.PARAMETER_SHARD.getByName(`${run}/${shard}`);
}

/** One number out of the shard's database. */
function query(
  { status }: Pick<ScriptedTrainer, "status">,
  sql: string,
): Promise<number> {
  return runInDurableObject(stubOf(status), (_object, state) => {
    const [row] = state.storage.sql.exec(sql).raw();
    return row![0] as number;
  });
}

test("an evicted shard comes back from its snapshot and its log with the same parameters", async () => {
  const trainer = await startScripted({ steps: 4, snapshotSteps: 3 });
  await trainer.reach(1);
  // Once by replay from the initial state, once from a snapshot, once from both.
  for (const step of [2, 3, 4]) {
    await trainer.reach(step);
    const before = await trainer.run.pull(0, step);
    await evictDurableObject(stubOf(trainer.status));
    const after = await trainer.run.pull(0, step);
    expect(after.digest).toBe(before.digest);
  }
});

test("a snapshot with moments for the whole shard, of schema version 2, goes on to the same bytes", async () => {
  const config = { steps: 5, snapshotSteps: 3, shards: 1 };
  const undisturbed = await startScripted(config);
  await undisturbed.reach(4);
  const expected = await undisturbed.run.pull(0, 4);

  const trainer = await startScripted(config);
  await trainer.reach(3);
  const stub = stubOf(trainer.status);
  const momenta = () =>
    query(
      trainer,
      "SELECT hex(value) FROM snapshots WHERE part = 'matrix.momentum'",
    );
  const before = await momenta();
  await runInDurableObject(stub, (_object, { storage: { sql } }) => {
    const part = (name: string): Uint8Array =>
      new Uint8Array(
        sql
          .exec<{ value: ArrayBuffer }>(
            "SELECT value FROM snapshots WHERE part = ?",
            name,
          )
          .one().value,
      );
    const momentum = part("matrix.momentum");
    const store = (name: string, parts: Uint8Array[]): void => {
      const value = new Uint8Array(parts.flatMap((bytes) => [...bytes]));
      sql.exec(
        "INSERT INTO snapshots SELECT version, ?, 0, ? FROM snapshot_pointer",
        name,
        value,
      );
    };
    store("m", [momentum, part("embedding.m"), part("vector.m")]);
    store("v", [momentum.fill(7), part("embedding.v"), part("vector.v")]);
    sql.exec("DELETE FROM snapshots WHERE part LIKE '%.%'");
    sql.exec(
      "CREATE TABLE plain AS SELECT step, microbatch, digest FROM pushes",
    );
    sql.exec(
      "CREATE TABLE parts AS SELECT step, microbatch, slice, payload FROM slices",
    );
    for (const table of [
      "pushes",
      "slices",
      "push_authors",
      "excluded",
      "states",
    ])
      sql.exec(`DROP TABLE ${table}`);
    sql.exec("ALTER TABLE plain RENAME TO pushes");
    sql.exec("ALTER TABLE parts RENAME TO slices");
    sql.exec("ALTER TABLE shard DROP COLUMN creation");
    sql.exec("ALTER TABLE shard DROP COLUMN secret");
    sql.exec("ALTER TABLE shard DROP COLUMN rewinds");
    sql.exec("UPDATE schema SET version = 2");
  });
  await evictDurableObject(stub);
  await trainer.run.pull(0, 3);
  expect(await momenta()).toBe(before);
  // The run's own migration has it tell its shards the keys of leases.
  const run = bindings.RUN.getByName(trainer.run.run);
  await runInDurableObject(run, (_object, { storage }) => {
    storage.sql.exec("UPDATE run SET initialized = 0");
  });
  await evictDurableObject(run);
  await trainer.reach(4);
  const { digest } = await trainer.run.pull(0, 4);
  expect(digest).toBe(expected.digest);
  expect(await query(trainer, "SELECT version FROM schema")).toBe(
    SHARD_SCHEMA.version,
  );
});

test("a state that others pushed out of memory comes back with the same bytes", async () => {
  const { run } = await startRun();
  await finish(run);
  const expected = await outcomeOf(run);

  const crowded = await startRun({ shards: 3 });
  let drops = 0;
  const crowding = setInterval(() => {
    isolateMemory.keep("a large neighbour", 96 * 1024 * 1024, () => drops++);
  }, 5);
  await finish(crowded.run);
  clearInterval(crowding);
  isolateMemory.letGo("a large neighbour");
  expect(drops).toBeGreaterThan(3);
  expect(await outcomeOf(crowded.run)).toEqual(expected);
});

test("a shard's memory is counted while it lives and given back when its run goes", async () => {
  const before = isolateMemory.heldBytes;
  const trainer = await startScripted({ shards: 1 });
  await trainer.run.pull(0, 0);
  const { length } = trainer.status.shards[0]!;
  const { table } = modelOf(trainer.status.config.model);
  const matrices = table.tensors.find(
    ({ group }) => group !== "matrix",
  )!.offset;
  expect(matrices).toBeLessThan(length);
  // In f32 the parameters, of matrices Muon's momentum, of the others m and v; and the bf16 frame.
  expect(isolateMemory.heldBytes - before).toBe(
    4 * (length + matrices + 2 * (length - matrices)) +
      2 * length +
      FRAME_HEADER_BYTES,
  );
  await trainer.run.setState("cancelled");
  await trainer.run.remove();
  expect(isolateMemory.heldBytes).toBe(before);
});

test("an update reads the pushes again only where their mean did not stay", async () => {
  type Shard = {
    prepare(step: number, taken: string[]): Promise<unknown>;
    apply(update: object, taken: string[]): Promise<unknown>;
  };
  const learningRates = { matrix: 0.01, embedding: 0.01, vector: 0.01 };
  const update = { step: 0, clipCoefficient: 1, learningRates };
  const digests: string[] = [];
  for (const evicts of [false, true]) {
    const trainer = await startScripted({ microbatches: 2 });
    await trainer.push(0, 0, 0.5);
    await trainer.push(0, 1, 0.25);
    const before = isolateMemory.heldBytes;
    const shard = stubOf(trainer.status) as unknown as Shard;
    const taken: string[] = [];
    for (const [index, value] of [0.5, 0.25].entries())
      taken.push(...(await trainer.digests({ step: 0, index }, value)));
    await shard.prepare(0, taken);
    const { length } = trainer.status.shards[0]!;
    expect(isolateMemory.heldBytes - before).toBe(4 * length);
    if (evicts) await evictDurableObject(stubOf(trainer.status));
    await (stubOf(trainer.status) as unknown as Shard).apply(update, taken);
    digests.push((await trainer.run.pull(0, 1)).digest);
  }
  expect(digests[1]).toBe(digests[0]);
});

test("a snapshot stands beside those that are kept, and ends the log up to it; digests stay", async () => {
  const trainer = await startScripted({ steps: 9, snapshotSteps: 2 });
  await trainer.reach(5);
  // Each less than a row: parameters, Muon's momentum, m and v of embeddings and of vectors.
  const rows = 1 + 1 + 2 * 2;
  // Of steps 2 and 4.
  expect(await query(trainer, "SELECT COUNT(*) FROM snapshots")).toBe(2 * rows);
  expect(await query(trainer, "SELECT step FROM snapshot_pointer")).toBe(4);
  expect(await query(trainer, "SELECT MIN(step) FROM slices")).toBe(4);
  expect(await query(trainer, "SELECT COUNT(*) FROM updates")).toBe(1);
  expect(await query(trainer, "SELECT COUNT(*) FROM pushes")).toBe(5 * 4);
  // The one of 2 is wanted no longer: of 4 and 6 there are copies.
  await trainer.reach(6);
  expect(await query(trainer, "SELECT COUNT(*) FROM snapshots")).toBe(2 * rows);
});

test("a large log brings the snapshot forward: it stays below 16 MiB and one step", async () => {
  const trainer = await startScripted({
    steps: 40,
    microbatches: 16,
    snapshotSteps: 1000,
    evaluation: { interval: 1000, microbatches: 1 },
  });
  const limit = 16 * 1024 * 1024;
  const stepBytes = 16 * 4 * trainer.status.parameters;
  const logBytes = () =>
    query(trainer, "SELECT COALESCE(SUM(LENGTH(payload)), 0) FROM slices");
  const snapshotStep = () =>
    query(trainer, "SELECT step FROM snapshot_pointer");
  await trainer.reach(1);
  // The last step that has room. Nobody commits another: it is written between two commits.
  const last = Math.ceil(limit / (await logBytes())) - 1;
  await trainer.reach(last);
  // Not while trainers wait for the parameters, but once they have them.
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await snapshotStep()).toBe(0);
  for (const { index } of trainer.status.shards)
    await trainer.run.pull(index, last);
  await expect.poll(snapshotStep).toBe(last);
  expect(await logBytes()).toBe(0);
  let largest = 0;
  for (let step = last + 1; step <= 8; step++) {
    await trainer.reach(step);
    largest = Math.max(largest, await logBytes());
  }
  expect(8 * stepBytes).toBeGreaterThan(2 * limit);
  expect(largest).toBeLessThan(limit);
});

test("a long log waits until the parameters of every shard on the thread were pulled", async () => {
  const trainer = await startScripted({
    shards: 2,
    steps: 40,
    microbatches: 16,
    snapshotSteps: 1000,
    evaluation: { interval: 1000, microbatches: 1 },
  });
  const limit = 16 * 1024 * 1024;
  const snapshotStep = () =>
    query(trainer, "SELECT step FROM snapshot_pointer");
  await trainer.reach(1);
  const bytes = await query(trainer, "SELECT SUM(LENGTH(payload)) FROM slices");
  const last = Math.ceil(limit / bytes) - 1;
  await trainer.reach(last);
  await trainer.run.pull(0, last);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await snapshotStep()).toBe(0);
  await trainer.run.pull(1, last);
  await expect.poll(snapshotStep).toBe(last);
});

test("once its run has ended a shard keeps its parameters and nothing of the log", async () => {
  const trainer = await startScripted({ steps: 3, snapshotSteps: 100 });
  await trainer.reach(2);
  const { digest } = await trainer.run.pull(0, 2);
  await trainer.run.setState("cancelled");
  for (const table of ["slices", "pushes", "updates"]) {
    expect(await query(trainer, `SELECT COUNT(*) FROM ${table}`)).toBe(0);
  }
  await evictDurableObject(stubOf(trainer.status));
  expect((await trainer.run.pull(0, 2)).digest).toBe(digest);
});

test("at most two checkpoints' parameters are set aside", async () => {
  const trainer = await startScripted({ steps: 5 });
  for (const step of [1, 2, 3]) {
    await trainer.reach(step);
    await (await trainer.run.checkpoint()).arrayBuffer();
  }
  expect(await query(trainer, "SELECT COUNT(DISTINCT step) FROM pins")).toBe(2);
});

test("an object that no run has created stores nothing", async () => {
  const stub = bindings.PARAMETER_SHARD.getByName("nobody/0");
  const tables = await runInDurableObject(stub, async (object, state) => {
    await (object as unknown as { end(): Promise<unknown> }).end();
    return state.storage.sql
      .exec("SELECT COUNT(*) AS n FROM sqlite_master WHERE name = 'shard'")
      .one().n;
  });
  expect(tables).toBe(0);
});
