/** Promise 1: a run's losses and final checkpoint are a pure function of its config. */
import { evictAllDurableObjects, reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { Fetcher } from "../../src/client/http.ts";
import {
  clientOf,
  finish,
  outcomeOf,
  startRun,
  TINY,
  worker,
} from "../support/run.ts";

afterEach(reset);

test("one trainer and one shard, two trainers and three shards end in the same bytes", async () => {
  const alone = await startRun();
  await finish(alone.run);
  const expected = await outcomeOf(alone.run);
  expect(expected.gradNorms).toHaveLength(4);

  const shared = await startRun({ shards: 3, snapshotSteps: 100 });
  await finish(shared.run, ["one", "two"]);
  expect(await outcomeOf(shared.run)).toEqual(expected);
});

test.each(["mxfp4-rht-eden", "mxfp4-rht-sr-dy"] as const)(
  "so does a Llama, however it is cut: %s",
  async (recipe) => {
    const model = { ...TINY.model, arch: "llama", headNorm: true } as const;
    const alone = await startRun({ model, recipe, shards: 1 });
    await finish(alone.run);
    const expected = await outcomeOf(alone.run);
    const [first, last] = [expected.losses.at(0)!, expected.losses.at(-1)!];
    expect(last).toBeLessThan(first);

    const shared = await startRun({ model, recipe, shards: 5 });
    await finish(shared.run, ["one", "two"]);
    expect(await outcomeOf(shared.run)).toEqual(expected);
  },
);

test("the order in which pushes arrive changes no byte", async () => {
  const { run } = await startRun({ microbatches: 5 });
  await finish(run);
  const expected = await outcomeOf(run);

  // Each push waits for another time, so that those of one step overtake each other.
  let pushes = 0;
  const shuffling: Fetcher = {
    async fetch(url, init) {
      if (url.includes("/gradients/")) {
        const waitMs = (pushes++ * 37) % 50;
        await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
      return worker.fetch(url, init);
    },
  };
  for (const subtree of [undefined, 2, 4]) {
    const shuffled = await startRun(
      { microbatches: 5, shards: 2, subtree },
      clientOf(shuffling),
    );
    await finish(shuffled.run, ["one", "two", "three"]);
    expect(await outcomeOf(shuffled.run)).toEqual(expected);
  }
});

test("evicting every object before each call changes no byte", async () => {
  // A call takes a third of a second so: two steps, whose second follows from what the first has left.
  const short = { steps: 2 };
  const { run } = await startRun(short);
  await finish(run);
  const expected = await outcomeOf(run);

  let evictions = 0;
  const evicting: Fetcher = {
    async fetch(url, init) {
      evictions++;
      await evictAllDurableObjects();
      return worker.fetch(url, init);
    },
  };
  const evicted = await startRun(
    { ...short, shards: 2, snapshotSteps: 100 },
    clientOf(evicting),
  );
  await finish(evicted.run);
  expect(evictions).toBeGreaterThan(40);
  expect(await outcomeOf(evicted.run)).toEqual(expected);
});

test("another seed ends in other bytes", async () => {
  const first = await startRun({ seed: 1, steps: 1 });
  await finish(first.run);
  const second = await startRun({ seed: 2, steps: 1 });
  await finish(second.run);
  expect((await outcomeOf(second.run)).losses).not.toEqual(
    (await outcomeOf(first.run)).losses,
  );
});
