/** Join tokens that end while their trainers are at work: between lease and push, between push and completion, after it. */
import { reset, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { TrainingService } from "../../src/training/service.ts";
import {
  bindings,
  clientOf,
  finish,
  outcomeOf,
  ScriptedTrainer,
  startRun,
  startScripted,
  worker,
} from "../support/run.ts";

afterEach(reset);
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"] });
  return () => vi.useRealTimers();
});

const TRUE = 0.5;
const FALSE = 77;
const EXPIRES_MS = 60_000;
const REFUSED = {
  code: "unauthorized",
  message: expect.stringMatching(/not expired, got another token/) as string,
};

function expire(): void {
  vi.setSystemTime(Date.now() + EXPIRES_MS);
}

/** A run of one step, and a trainer whose token ends soon. */
async function startExpiring() {
  const owner = await startScripted({ steps: 1, shards: 2 });
  const joined = await owner.run.joinToken({ expiresInMs: EXPIRES_MS });
  const run = clientOf(worker, joined.token).run(owner.run.run);
  const guest = new ScriptedTrainer(run, owner.status, "guest");
  return { owner, guest, id: joined.id };
}

/** By shard, how many pushes of step 0 lie there, with their authors, who are forgotten with the commit. */
function pushesOf({ run, status }: ScriptedTrainer) {
  return Promise.all(
    status.shards.map(({ index }) =>
      runInDurableObject(
        bindings.PARAMETER_SHARD.getByName(`${run.run}/${index}`),
        (_object, { storage: { sql } }) =>
          ["pushes", "push_authors"].map(
            (table) => sql.exec(`SELECT * FROM ${table}`).toArray().length,
          ),
      ),
    ),
  );
}

/** That it ended as if nobody else had been there, and nothing is held against whose token has ended. */
async function expectUnharmed(owner: ScriptedTrainer): Promise<void> {
  const [metrics] = await owner.run.metrics();
  const root = Math.sqrt(owner.status.parameters);
  expect(metrics!.gradNorm!).toBeLessThanOrEqual(TRUE * root);
  expect(metrics!.gradNorm!).toBeGreaterThan(0.98 * TRUE * root);
  const [token] = await owner.run.joinTokens();
  expect(token!.state).toBe("active");
  expect(token!.expiresMs!).toBeLessThanOrEqual(Date.now());
  await owner.run.setState("cancelled");
  for await (const event of owner.run.events())
    expect(["conflict", "author", "waiting"]).not.toContain(event.type);
}

test("between lease and push: neither is taken, nothing is stored, and others compute it", async () => {
  const { owner, guest } = await startExpiring();
  const { lease } = await guest.run.lease(guest.identity);
  expire();
  await expect(guest.pushFor(lease!, TRUE)).rejects.toMatchObject(REFUSED);
  await expect(guest.complete(lease!)).rejects.toMatchObject(REFUSED);
  expect(await pushesOf(owner)).toEqual([
    [0, 0],
    [0, 0],
  ]);
  expect((await owner.run.step(0)).microbatches).toEqual([]);
  await owner.reach(1);
  await expectUnharmed(owner);
});

test.each([TRUE, FALSE])(
  "between push and completion, of %f: it has told nothing, and what it pushed goes with the commit that does not take it",
  async (value) => {
    const { owner, guest } = await startExpiring();
    const { lease } = await guest.run.lease(guest.identity);
    await guest.pushFor(lease!, value);
    expire();
    await expect(guest.complete(lease!, value)).rejects.toMatchObject(REFUSED);
    expect(await pushesOf(owner)).toEqual([
      [1, 1],
      [1, 1],
    ]);
    await owner.reach(1);
    expect(await pushesOf(owner)).toEqual([
      [4, 0],
      [4, 0],
    ]);
    for (const { authors } of (await owner.run.step(0)).microbatches)
      expect(authors).toEqual(["owner.scripted"]);
    await expectUnharmed(owner);
  },
);

test("after the completion: what it told stays, in its name", async () => {
  const { owner, guest, id } = await startExpiring();
  const { lease } = await guest.run.lease(guest.identity);
  await guest.pushFor(lease!, TRUE);
  await guest.complete(lease!, TRUE);
  expire();
  await owner.reach(1);
  const { microbatches } = await owner.run.step(0);
  const told = microbatches.map(({ authors }) => authors.join());
  expect(told.filter((author) => author === id)).toHaveLength(1);
  await expectUnharmed(owner);
});

test.each(["pull", "push", "complete"] as const)(
  "a trainer whose token ends before its %s ends at once, with what was expected; the run ends in the bytes of one without it",
  async (at) => {
    const plain = await startRun();
    await finish(plain.run);
    const dataset = plain.status.config.dataset.name;
    const { run } = await startRun({ dataset });
    const { token } = await run.joinToken({ expiresInMs: EXPIRES_MS });
    const own = clientOf(worker, token).run(run.run);
    let calls = 0;
    const counted =
      <A extends unknown[], R>(call: (...given: A) => R, name: string) =>
      (...given: A): R => {
        // The second, so that something of it is there.
        if (name === at && ++calls === 2) expire();
        return call(...given);
      };
    const service: TrainingService = {
      status: () => own.status(),
      lease: (request) => own.lease(request),
      tokens: (...asked) => own.tokens(...asked),
      tokenizer: (dataset) => own.tokenizer(dataset),
      pull: counted((...asked) => own.pull(...asked), "pull"),
      push: counted((...pushed) => own.push(...pushed), "push"),
      complete: counted((...told) => own.complete(...told), "complete"),
    };
    await expect(finish(service, ["guest"])).rejects.toMatchObject(REFUSED);
    await finish(run, ["honest"]);
    expect(await outcomeOf(run)).toEqual(await outcomeOf(plain.run));
  },
);
