/** One token that sends far more than it may: how little of it stays, and that honest trainers have work all the time. */
import { reset, runInDurableObject } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { Lease } from "../../src/api/lease.ts";
import {
  bindings,
  call,
  ScriptedTrainer,
  startScripted,
} from "../support/run.ts";

afterEach(reset);

const TRUE = 0.5;
const FALSE = 77;
const MICROBATCHES = 4;
const STEPS = 3;

type Stranger = ScriptedTrainer & { token: string };

/** Another name of the same token. */
function named(trainer: Stranger, name: string): Stranger {
  const identity = { ...trainer.identity, trainer: name };
  const other = new ScriptedTrainer(trainer.run, trainer.status, name);
  return Object.assign(other, { token: trainer.token, identity });
}

const start = () =>
  startScripted({
    steps: STEPS,
    microbatches: MICROBATCHES,
    shards: 2,
    evaluation: { interval: 9, microbatches: 1 },
  });

/** Leases of every microbatch of the step, each of another name of the token. */
async function takeAll(flood: Stranger, names: number) {
  const held = new Map<number, { by: Stranger; lease: Lease }>();
  for (let name = 0; name < names; name++) {
    const by = named(flood, `name-${name}`);
    const { lease } = await by.run.lease(by.identity);
    if (lease?.kind === "train") held.set(lease.index, { by, lease });
  }
  expect(held.size).toBe(MICROBATCHES);
  return [...held.values()];
}

/** One lease, of work that is there at once. */
async function doOne(honest: ScriptedTrainer): Promise<void> {
  const { lease } = await honest.run.lease(honest.identity);
  expect(lease).not.toBeNull();
  if (lease!.kind === "train") await honest.pushFor(lease!, TRUE);
  await honest.complete(lease!);
}

/** To the end of the training steps, with `flood` before each lease. */
async function train(
  honest: ScriptedTrainer,
  flood: () => Promise<unknown> = () => Promise.resolve(),
) {
  let done = 0;
  for (; (await honest.run.status()).step < STEPS; done++) {
    await flood();
    await doOne(honest);
  }
  return done;
}

async function expectTrue({ run, status }: ScriptedTrainer): Promise<void> {
  const root = Math.sqrt(status.parameters);
  const metrics = (await run.metrics()).slice(0, STEPS);
  expect(metrics).toHaveLength(STEPS);
  for (const { gradNorm } of metrics) {
    expect(gradNorm!).toBeLessThanOrEqual(TRUE * root);
    expect(gradNorm!).toBeGreaterThan(0.98 * TRUE * root);
  }
}

async function countedEvents({ run }: ScriptedTrainer) {
  await run.setState("cancelled");
  const counts: Record<string, number> = {};
  for await (const { type } of run.events())
    counts[type] = (counts[type] ?? 0) + 1;
  return counts;
}

function rowsOf({ run }: ScriptedTrainer, shard: number, table: string) {
  const stub = bindings.PARAMETER_SHARD.getByName(`${run.run}/${shard}`);
  return runInDurableObject(
    stub,
    (_object, { storage: { sql } }) =>
      sql.exec(`SELECT * FROM ${table}`).toArray().length,
  );
}

test("completions of all microbatches without a push cost the token its place, and the others that step's work once", async () => {
  const honest = await start();
  const flood = await honest.stranger("flood");
  const held = await takeAll(flood, 40);
  for (const { by, lease } of held) await by.complete(lease, FALSE);
  // With the evaluation all is told, so the shards are asked, which have nothing: each is open again.
  await doOne(honest);
  const [token] = await honest.run.joinTokens();
  expect(token!.state).toBe("quarantined");
  const again = () =>
    expect(
      named(flood, "more").run.lease(flood.identity),
    ).rejects.toMatchObject({ code: "forbidden" });
  const done = await train(honest, again);
  expect(done).toBe(STEPS * MICROBATCHES);
  await expectTrue(honest);
  expect(await countedEvents(honest)).toMatchObject({
    conflict: MICROBATCHES,
    author: 1,
    step: STEPS,
  });
});

test("one completion again and again, and completions without a lease, leave one word", async () => {
  const honest = await start();
  const flood = await honest.stranger("flood");
  const { lease } = await flood.run.lease(flood.identity);
  await flood.pushFor(lease!, TRUE);
  for (let round = 0; round < 100; round++)
    expect((await flood.complete(lease!)).duplicate).toBe(round > 0);
  const forged = { ...lease!, index: (lease!.index + 1) % MICROBATCHES };
  for (let round = 0; round < 100; round++)
    await expect(flood.complete(forged)).rejects.toMatchObject({
      code: "no_lease",
    });
  expect((await honest.run.step(0)).microbatches).toHaveLength(1);
  await flood.run.leave(flood.identity);
  await train(honest);
  await expectTrue(honest);
  const counts = await countedEvents(honest);
  expect(counts.conflict ?? 0).toBe(0);
  expect(counts.author ?? 0).toBe(0);
});

test("pushes without a lease are not read, and leave nothing", async () => {
  const honest = await start();
  const flood = await honest.stranger("flood");
  const { lease } = await flood.run.lease(flood.identity);
  const [frame, headers] = [
    await flood.frame(0, 0, 0, FALSE),
    { Authorization: `Bearer ${flood.token}` },
  ];
  const push = async (key: string | undefined, microbatch: number) => {
    const path = `/v1/runs/${honest.run.run}/shards/0/gradients/0/${microbatch}`;
    const sent = key === undefined ? headers : { ...headers, "Lease-Key": key };
    const answer = await call("PUT", path, frame.slice(), sent);
    expect(answer.status).toBe(409);
    expect(await answer.json()).toMatchObject({ code: "no_lease" });
  };
  const pushes = async () => {
    for (let microbatch = 0; microbatch < MICROBATCHES; microbatch++) {
      await push(undefined, microbatch);
      if (microbatch !== lease!.index) await push(lease!.key, microbatch);
    }
  };
  for (let round = 0; round < 10; round++) await pushes();
  for (const table of ["pushes", "slices", "push_authors"])
    expect(await rowsOf(honest, 0, table)).toBe(0);
  expect(await train(honest, pushes)).toBe(STEPS * MICROBATCHES + 1);
  await expectTrue(honest);
  const counts = await countedEvents(honest);
  expect(counts.conflict ?? 0).toBe(0);
});

test("pushes with leases that are never completed are one a microbatch, whatever names a token has, and gone with the commit", async () => {
  const honest = await start();
  const flood = await honest.stranger("flood");
  const held = await takeAll(flood, 40);
  for (let round = 0; round < 20; round++)
    for (const { by, lease } of held) await by.pushFor(lease, FALSE);
  for (const shard of [0, 1])
    expect(await rowsOf(honest, shard, "pushes")).toBe(MICROBATCHES);
  // Other bytes than its own, by another of its names: it has told against itself, and all of it goes.
  const { by, lease } = held[0]!;
  const refused = named(flood, "name-39").pushFor(lease, FALSE + 1);
  await expect(refused).rejects.toMatchObject({ code: "different_bytes" });
  for (const shard of [0, 1])
    expect(await rowsOf(honest, shard, "pushes")).toBe(0);
  await expect(by.pushFor(lease, FALSE)).rejects.toMatchObject({
    code: "forbidden",
  });
  expect(await train(honest)).toBe(STEPS * MICROBATCHES + 1);
  await expectTrue(honest);
  for (const shard of [0, 1])
    expect(await rowsOf(honest, shard, "push_authors")).toBe(0);
});

test("many tokens that push what they never complete leave one push each, and none of it after the commit", async () => {
  const honest = await start();
  const tokens = 6;
  for (let token = 0; token < tokens; token++) {
    const flood = await honest.stranger(`flood-${token}`);
    const { lease } = await flood.run.lease(flood.identity);
    if (lease!.kind === "train") await flood.pushFor(lease!, FALSE + token);
  }
  expect(await rowsOf(honest, 0, "pushes")).toBeGreaterThan(1);
  expect(await rowsOf(honest, 0, "pushes")).toBeLessThanOrEqual(tokens);
  await honest.reach(1);
  expect(await rowsOf(honest, 0, "pushes")).toBe(MICROBATCHES);
  expect(await train(honest)).toBeGreaterThan(0);
  await expectTrue(honest);
});
