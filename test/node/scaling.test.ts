/** The model of docs/scaling.md, by hand. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { foretold } from "../../bench/scaling/fit.ts";
import { openLink } from "../../bench/scaling/link.ts";
import type { Sample } from "../../bench/scaling/measure.ts";
import type { ModelPreset } from "../../src/cli/train/presets.ts";
import {
  type Constants,
  farStep,
  fitCost,
  type ModelCosts,
  nearStep,
  NO_LINK,
} from "../../bench/scaling/model.ts";
import { rendered } from "../../bench/scaling/page.ts";
import { judged, subtreesTable } from "../../bench/scaling/subtrees-page.ts";
import type { SubtreeSample } from "../../bench/scaling/subtrees.ts";

const COSTS: ModelCosts = {
  parameters: 1000,
  pulledBytes: 2000,
  pushedBytes: 500,
  compute: 10,
  pack: 1,
  reduce: 0.5,
  update: 4,
  again: 1.5,
  difference: 0.25,
};
const CONSTANTS: Constants = {
  push: { each: 0.5, byte: 0.002 },
  pull: { each: 0.25, byte: 0.001 },
  ask: 1,
  shares: { edge: 0.25, trainer: 0.25 },
  commit: { once: 2, shard: 0.5 },
  difference: 0.5,
};
const LINK = { bytesPerSecond: 1000, roundTrip: 2 };

// commit = 4 + 1.5 + 8 · 0.5 + 2 + 2 · 0.5 = 12.5; push 2 and ask 1, of which the trainer has 0.75; pull = 2.5.
test.each([
  // Packs, asks and pulls once, and has eight microbatches of 10 + 0.75; nothing hides the last one's 2.25.
  [
    "one trainer pushes while it computes",
    1,
    NO_LINK,
    12.5 + 1 + 1 + 2.5 + 8 * 10.75 + 2.25,
  ],
  // 0.25 for the difference, half of the bytes; a round trip more a request, of the last push and completion only.
  [
    "a link that computing hides",
    1,
    LINK,
    12.5 + 1 + 3 + 2.5 + 0.25 + 2 + 1 + 8 * 10.75 + 2.25 + 2.5 + 2,
  ],
  // 25 s of a push's bytes and 50 of the difference's: a microbatch takes its way, and only one is computed beside nothing.
  [
    "a link so slow that it bounds",
    1,
    { bytesPerSecond: 20, roundTrip: 2 },
    12.5 + 1 + 3 + 2.5 + 0.25 + 2 + 50 + 8 * (2.25 + 2 + 25 + 2) + 10.75,
  ],
  // A quarter of what is so once a step: 0.875 of requests, and the 3 of push and ask. The edge has 0.96875 of them, and a trainer
  // with its packing 11.21875 of a core; both 12.1875. One alone takes 10.75 + 2.25 / 4 + 1.125; the other meets 6.09375 of
  // that at two cores, 0.96875 at the edge. Half a microbatch is computed twice.
  [
    "two trainers on two cores",
    2,
    NO_LINK,
    12.5 +
      (8.5 / 2) *
        (12.4375 +
          (10.75 + 0.1875 + 0.6875) * (6.09375 / 2 / 12.4375) +
          (0.1875 + 0.21875) * (0.96875 / 12.4375)),
  ],
] as const)("a step on one machine: %s", (_what, trainers, link, seconds) => {
  const setting = { trainers, shards: 2, microbatches: 8, link };
  expect(nearStep(COSTS, CONSTANTS, setting, 2)).toBeCloseTo(seconds, 9);
});

test("of one trainer and one microbatch nothing is hidden: all parts add up", () => {
  const setting = { trainers: 1, shards: 2, microbatches: 1, link: NO_LINK };
  const parts = 4 + 1.5 + 0.5 + 2 + 2 * 0.5 + 1 + 10 + 2 + 2 * 1 + 2.5;
  expect(nearStep(COSTS, CONSTANTS, setting, 1)).toBeCloseTo(parts, 9);
});

test("more trainers than cores come to what the cores can, and to what the edge's one thread can", () => {
  const setting = { shards: 2, microbatches: 256, link: NO_LINK };
  const step = (trainers: number, shares: Constants["shares"]) =>
    nearStep(
      { ...COSTS, pack: 0, pulledBytes: 0 },
      { ...CONSTANTS, pull: { each: 0, byte: 0 }, shares },
      { ...setting, trainers },
      4,
    );
  const commit = 4 + 1.5 + 256 * 0.5 + 2 + 2 * 0.5;
  // Of 14 s, 12 at a core; the rest waits, beside others. All but one compute half of what another does.
  const atCores = step(256, { edge: 0.25, trainer: 0.25 });
  expect(atCores).toBeGreaterThan(0.999 * (commit + ((256 + 127.5) * 12) / 4));
  expect(atCores).toBeLessThan(1.01 * (commit + ((256 + 127.5) * 12) / 4));
  // A trainer has a core of its own when it is one of few.
  expect(step(1, { edge: 0, trainer: 0 })).toBeCloseTo(
    commit + 256 * 10 + 3 + 1,
    6,
  );
  // The edge has 3 s of each, and a quarter of a first lease, one after another, on more cores than are used.
  const atEdge = nearStep(
    { ...COSTS, compute: 0, pack: 0, pulledBytes: 0 },
    {
      ...CONSTANTS,
      pull: { each: 0, byte: 0 },
      shares: { edge: 1, trainer: 0 },
    },
    { ...setting, trainers: 64 },
    64,
  );
  expect(atEdge).toBeGreaterThan(0.999 * (commit + (256 + 31.5) * 3.25));
  expect(atEdge).toBeLessThan(1.1 * (commit + (256 + 31.5) * 3.25));
});

test("a step of machines apart: shards give and take one after another, and sums of neighbours spare them pushes", () => {
  const link = { bytesPerSecond: 1e9, roundTrip: 0 };
  const setting = { trainers: 64, shards: 4, microbatches: 64, link };
  const step = farStep(COSTS, CONSTANTS, setting);
  // given = 0.25 + 500 · 0.001, taken = 0.5 + 125 · 0.002
  expect(step.pull).toBeCloseTo(64 * 0.75, 9);
  expect(step.compute).toBeCloseTo(1 + 1 + 10 + 1, 9);
  expect(step.push).toBeCloseTo(64 * 0.75, 9);
  expect(step.commit).toBeCloseTo(4 / 4 + (64 * 0.5) / 4 + 2 + 0.5, 9);
  expect(step.seconds).toBeCloseTo(48 + 13 + 48 + 11.5, 9);
  // 16 to an object, then 4 sums of 1,000 bytes a shard.
  const sums = farStep(COSTS, CONSTANTS, setting, 16);
  expect(sums.push).toBeCloseTo(16 * (0.75 + 0.125) + 4 * (0.5 + 2), 9);
  expect(sums.commit).toBeCloseTo(4 / 4 + (4 * 0.5) / 4 + 2 + 0.5, 9);
});

test("machines apart push while they compute, but for the last round", () => {
  const setting = { trainers: 64, shards: 4, microbatches: 192 };
  // Three rounds; a shard has 64 pushes of 0.75 to take, which with the completion's second is 39 s longer than computing.
  const near = farStep(COSTS, CONSTANTS, {
    ...setting,
    link: { bytesPerSecond: 1e9, roundTrip: 0 },
  });
  expect(near.compute).toBeCloseTo(1 + 1 + 3 * 10 + 2 * (48 + 1 - 10) + 1, 5);
  // One trainer, whose link takes 5 s a push: computing hides it and the completion, but for the last.
  const link = { bytesPerSecond: 125, roundTrip: 1 };
  const alone = farStep(COSTS, CONSTANTS, {
    ...setting,
    trainers: 1,
    microbatches: 3,
    link,
  });
  expect(alone.compute).toBeCloseTo(1 + (1 + 1) + 3 * 10 + (1 + 1), 9);
  expect(alone.push).toBeCloseTo(1 + 4, 9);
});

test("constants are those of the points, and never below zero", () => {
  const points = [1, 2, 8].flatMap((requests) =>
    [100, 5000].map((bytes) => ({
      requests,
      bytes,
      seconds: 3 * requests + 0.01 * bytes,
    })),
  );
  const { each, byte } = fitCost(points);
  expect(each).toBeCloseTo(3, 9);
  expect(byte).toBeCloseTo(0.01, 9);
  const falling = points.map((point) => ({
    ...point,
    seconds: point.bytes - point.requests,
  }));
  expect(fitCost(falling)).toMatchObject({ each: 0 });
});

test("runs that go as the model says are foretold from those with one trainer and few microbatches", () => {
  const points = [1, 4].flatMap((shards) => [
    ...["tiny", "small"].flatMap((preset) =>
      [1, 2, 8].map((microbatches) => ({
        preset,
        trainers: 1,
        shards,
        microbatches,
        link: null,
      })),
    ),
    { preset: "small", trainers: 2, shards, microbatches: 8, link: null },
    { preset: "small", trainers: 1, shards, microbatches: 8, link: LINK },
  ]);
  const samples = points.map((point): Sample => {
    const { shards, microbatches, link } = point;
    const size = point.preset === "tiny" ? 1 : 3;
    const costs = {
      ...COSTS,
      pulledBytes: 2000 * size,
      pushedBytes: 500 * size,
      again: 0,
    };
    const pull = 0.25 * shards + 0.001 * costs.pulledBytes;
    const push = microbatches * (0.5 * shards + 0.002 * costs.pushedBytes);
    const commit = 4 + microbatches * 0.5 + 2 + 0.5 * shards;
    const compute = 1 + 10 * microbatches;
    const requests = pull + push + microbatches + 1;
    // What is waited for where something else goes on meanwhile is not looked at.
    const waited = microbatches === 1 ? push : NaN;
    return {
      ...point,
      preset: point.preset as ModelPreset,
      load: 0,
      cores: 2,
      step: nearStep(costs, CONSTANTS, { ...point, link: link ?? NO_LINK }, 2),
      lease: microbatches + 1 + commit,
      pull,
      compute,
      push: waited,
      commit,
      edgeCpu: 4 + microbatches * 0.5 + (requests + 2 + 0.5 * shards) / 4,
      trainersCpu: compute + requests / 4,
      share: link ? 0.5 : 1,
      costs,
    };
  });
  const scaling = foretold(samples);
  for (const { step, predicted } of scaling.points)
    expect(predicted / step).toBeCloseTo(1, 6);
  expect(scaling.models.small!.again).toBeCloseTo(0, 6);
  // What is waited for beyond that: shards are read again.
  const longer = samples.map((sample) => ({
    ...sample,
    lease:
      sample.lease +
      (sample.preset === "small" && sample.microbatches === 1 ? 1.5 : 0),
  }));
  expect(foretold(longer).models.small!.again).toBeGreaterThan(0.5);
  // As of a file that an earlier version wrote.
  const overlapping = samples.filter(
    ({ microbatches, preset }) => microbatches > 1 || preset === "tiny",
  );
  expect(() => foretold(overlapping)).toThrow(
    "Expected a run of small with one trainer, one microbatch and no link, got none",
  );
  const { checked, far } = rendered(scaling);
  expect(checked).toContain("not fitted, 8 of 8 are within 15 %");
  expect(checked).toContain("Of the fitted runs, 8 of 8.");
  const lines = far.split("\n");
  expect(lines).toHaveLength(2 + 2 * 2 * 3 + 5 + 2 * 2);
  // With these constants a push is half a second by itself, and the link far faster: 17 to a shard are more than 16 to
  // an object and two sums.
  expect(lines.at(-1)).toMatch(
    /^\| small \| 125 MB\/s, 2 ms \| from \d+ \| from \d+ \| .* \| \d+ % \|$/,
  );
});

test("a link brings all bytes in order, both ways, and ends with either end", async () => {
  const server = createServer(
    (request, response) => void request.pipe(response),
  );
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const { port } = server.address() as AddressInfo;
  const link = await openLink(`http://127.0.0.1:${port}`, {
    bytesPerSecond: 20e6,
    roundTrip: 0.01,
  });
  try {
    const body = new Uint8Array(100_000).map((_, i) => (i * 31) >> 3);
    const [one, two] = await Promise.all(
      [1, 2].map(async () => {
        const answer = await fetch(link.url, { method: "POST", body });
        return new Uint8Array(await answer.arrayBuffer());
      }),
    );
    expect(one).toEqual(body);
    expect(two).toEqual(body);
  } finally {
    link.close();
    server.close();
  }
});

test("what a shard needs with subtrees and without, from the parts that were measured", () => {
  // A push costs 1 and 0.01 a byte, a sum alike: 9 to hand over, so the model is right but for the commit.
  const sample: SubtreeSample = {
    preset: "tiny",
    microbatches: 64,
    subtree: null,
    load: 0,
    steps: 1,
    pushedBytes: 100,
    sumBytes: 800,
    reduce: 0.5,
    push: 2,
    sum: 0,
    commit: 40,
  };
  const larger = {
    ...sample,
    preset: "small" as const,
    pushedBytes: 300,
    push: 4,
  };
  const cut = { ...sample, subtree: 16, sum: 9 + 16 * 0.5, commit: 10 };
  const [row, ...others] = judged([sample, larger, cut]);
  expect(others).toEqual([]);
  expect(row!.without).toBeCloseTo(64 * 2 + 40, 9);
  expect(row!.measured).toBeCloseTo(16 * 2.5 + 4 * 9 + 10, 9);
  expect(row!.foretold).toBeCloseTo(16 * 2.5 + 4 * 9 + 40 - 60 * 0.5, 9);
  // 2.5 a microbatch without; with, 9.5 / 16 and once 16 * 2.5.
  expect(row!.from).toBe(Math.ceil(40 / (2.5 - 9.5 / 16)));
  expect(subtreesTable([sample, larger, cut])).toContain(
    "| tiny | 64 | 16 | 2000.0 ms | 9000.0 ms | 168000.0 ms | 86000.0 ms | 86000.0 ms | 21 |",
  );
});
