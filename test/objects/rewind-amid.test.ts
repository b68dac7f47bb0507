/** A run that goes back amid what else it does: a commit, its trainers' work, a crash of the going back itself. */
import { evictDurableObject, reset, runInDurableObject } from "cloudflare:test";
import { afterEach, expect, test, vi } from "vitest";
import type { RunRequest } from "../../src/api/run-config.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import type { ObjectBindings } from "../../src/objects/platform/bindings.ts";
import { RunControl } from "../../src/objects/run/run-control.ts";
import { heldShards } from "../support/held-shards.ts";
import { problemOf } from "../http/support.ts";
import { uniform } from "../support/random.ts";
import {
  bindings,
  call,
  finish,
  outcomeOf,
  type ScriptedTrainer,
  startRun,
  startScripted,
} from "../support/run.ts";

afterEach(reset);

const CONFIG: Partial<RunRequest> = {
  steps: 4,
  shards: 2,
  snapshotSteps: 1,
  microbatches: 2,
  evaluation: { interval: 9, microbatches: 1 },
};

/** What a run of these gradients comes to that nothing happened to. */
async function calmOutcome(dataset: string) {
  const calm = await startScripted({ ...CONFIG, dataset });
  await calm.reach(4);
  return outcomeOf(calm.run);
}

const datasetOf = ({ status }: ScriptedTrainer) => status.config.dataset.name;

/** In the run's own storage, beside its object, which begins anew afterwards. */
async function withControl(
  run: RunClient,
  env: ObjectBindings,
  body: (control: RunControl) => Promise<unknown>,
): Promise<void> {
  const stub = bindings.RUN.getByName(run.run);
  await runInDurableObject(stub, (_object, { storage }) =>
    body(new RunControl(storage, env)),
  );
  await evictDurableObject(stub);
}

test.each([0, 2])(
  "amid the commit of step 2, to step %i: the commit ends first, and then it is taken back",
  async (step) => {
    const owner = await startScripted(CONFIG);
    await owner.reach(2);
    await owner.doLease();
    const { lease } = await owner.run.lease(owner.identity);
    await owner.pushFor(lease!, 0.5);
    const digests = await owner.digests(lease!, 0.5);
    const { trainer, bootId } = owner.identity;
    const told = { trainer, bootId, lossSum: 64, tokens: 64, digests };
    const { env, asked, letGo } = heldShards("prepare");
    await withControl(owner.run, env, async (control) => {
      const { kind, index, key } = lease!;
      const completing = control.desk.complete(
        "owner",
        kind,
        2,
        index,
        told,
        key,
      );
      await asked;
      const rewinding = control.rewind(step);
      // It waits for the commit: nothing is taken back under its feet.
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(control.status().step).toBe(2);
      letGo();
      await completing;
      expect(await rewinding).toMatchObject({ step, state: "running" });
    });
    expect((await owner.run.metrics()).map((each) => each.step)).toEqual(
      Array.from({ length: step }, (_, each) => each),
    );
    await owner.reach(4);
    expect(await outcomeOf(owner.run)).toEqual(
      await calmOutcome(datasetOf(owner)),
    );
  },
);

test.each([0, 1])(
  "shard %i does not hear of it, since all is killed: whoever comes next goes on with it, before anything else",
  async (deaf) => {
    const owner = await startScripted(CONFIG);
    await owner.reach(3);
    const step = (await owner.run.states()).at(-2)!;
    expect(step).toBeGreaterThan(0);
    const before = (await owner.run.lease(owner.identity)).lease!;
    const getByName = (name: string) => {
      const stub = bindings.PARAMETER_SHARD.getByName(name);
      if (!name.endsWith(`/${deaf}`)) return stub;
      return new Proxy(stub, {
        get: (object, method) =>
          method === "goBack"
            ? () => Promise.reject(new Error("Expected to be alive"))
            : (Reflect.get(object, method) as unknown),
      });
    };
    const env = {
      ...bindings,
      PARAMETER_SHARD: { getByName },
    } as unknown as ObjectBindings;
    await withControl(owner.run, env, async (control) => {
      await expect(control.rewind(step)).rejects.toThrow(
        "Expected to be alive",
      );
    });
    for (const { index } of owner.status.shards)
      await evictDurableObject(
        bindings.PARAMETER_SHARD.getByName(`${owner.run.run}/${index}`),
      );
    // Of before: its key is void, whether its shard has heard or not yet.
    await expect(owner.complete(before)).rejects.toMatchObject({
      code: "no_lease",
    });
    const { lease } = await owner.run.lease(owner.identity);
    expect(lease).toMatchObject({ step, rewinds: 1 });
    expect((await owner.run.pull(deaf, step, { rewinds: 1 })).step).toBe(step);
    await expect(owner.pushFor({ ...before, step }, 0.5)).rejects.toMatchObject(
      { code: "no_lease" },
    );
    await owner.reach(4);
    expect(await outcomeOf(owner.run)).toEqual(
      await calmOutcome(datasetOf(owner)),
    );
  },
);

test.each([
  ["a shard", undefined],
  ["a subtree", 2],
])(
  "while %s reads a push: its key has become void, whether the step is there again or not",
  async (_what, subtree) => {
    const owner = await startScripted({ ...CONFIG, microbatches: 4, subtree });
    for (const [at, to] of [
      [1, 0],
      [1, 1],
    ] as const) {
      await owner.reach(at);
      const { lease } = await owner.run.lease(owner.identity);
      const frame = await owner.frame(0, at, lease!.index, 77);
      const { readable, writable } = new FixedLengthStream(frame.length);
      const path = `/v1/runs/${owner.run.run}/shards/0/gradients/${at}/${lease!.index}`;
      const headers = {
        "Lease-Key": lease!.key,
        "Content-Length": `${frame.length}`,
      };
      const answer = call("PUT", path, readable, headers);
      const writer = writable.getWriter();
      await writer.write(frame.subarray(0, 1000));
      await owner.run.rewind(to);
      await writer.write(frame.subarray(1000));
      await writer.close();
      await problemOf(await answer, 409, "no_lease");
    }
    await owner.reach(4);
    for (const { gradNorm } of (await owner.run.metrics()).slice(0, 4))
      expect(gradNorm!).toBeLessThanOrEqual(
        0.5 * Math.sqrt(owner.status.parameters),
      );
  },
);

test.each([1, 2])(
  "while trainers hold leases and push, at times that nobody chose (%i): they go on by themselves, to the bytes of a run that never went back",
  async (seed) => {
    const plain = await startRun({ ...CONFIG, steps: 6, microbatches: 4 });
    await finish(plain.run);
    const dataset = plain.status.config.dataset.name;
    const { run } = await startRun({
      ...CONFIG,
      steps: 6,
      dataset,
      microbatches: 4,
      subtree: seed > 1 ? 2 : undefined,
    });
    const training = finish(run, ["one", "two"]);
    const random = uniform(seed);
    let rewinds = 0;
    for (; rewinds < 3; rewinds++) {
      const least = 1 + Math.floor(4 * random());
      const state = await vi.waitUntil(
        async () => {
          const { step, state } = await run.status();
          return step >= least || state !== "running" ? state : false;
        },
        { timeout: 60_000, interval: 5 },
      );
      if (state !== "running") break;
      await new Promise((resolve) => setTimeout(resolve, 60 * random()));
      const back = run.rewind(Math.floor(least * random()));
      // It may have ended meanwhile.
      const refused = await back.then(
        () => null,
        (error: { code: string }) => error.code,
      );
      if (refused !== null) {
        expect(refused).toBe("wrong_state");
        break;
      }
    }
    expect(rewinds).toBeGreaterThan(0);
    await training;
    expect((await run.status()).state).toBe("finished");
    expect(await outcomeOf(run)).toEqual(await outcomeOf(plain.run));
    expect((await run.joinTokens()).map(({ state }) => state)).toEqual([]);
  },
);
