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
  NO_LINK,
} from "../../bench/scaling/model.ts";
import {
  PlayedMachine,
  type Strand,
} from "../../bench/scaling/played-machine.ts";
import { nearStep } from "../../bench/scaling/near-step.ts";
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
  lag: 0,
  difference: 0.5,
};
const LINK = { bytesPerSecond: 1000, roundTrip: 2 };

// commit = 4 + 1.5 + 8 · 0.5 + 2 + 2 · 0.5 = 12.5; of a push of 2 and a completion of 1, trainer and edge have 0.75 each; pull = 2.5.
const SHORT = { bytesPerSecond: 20, roundTrip: 2 };

test.each([
  // Asks, pulls and packs once, and computes eight times; nothing hides the last push.
  [
    "one trainer pushes while it computes",
    [1, NO_LINK, 2, 8],
    12.5 + 1 + 2.5 + 1 + 8 * 10 + 3,
  ],
  // The first has nothing beside it; the 1.5 of a core that a push takes then make computing the next longer.
  [
    "one core does it all",
    [1, NO_LINK, 1, 8],
    12.5 + 1 + 2.5 + 1 + 10 + 7 * 11.5 + 3,
  ],
  // A round trip more of the ask, the pull, of which half of the bytes and 0.25 for the difference, and of the last push and completion.
  [
    "a link that computing hides",
    [1, LINK, 2, 8],
    12.5 + 3 + (2.5 + 0.25 + 2 + 1) + 1 + 8 * 10 + (3 + 2.5 + 2),
  ],
  // 25 s of a push's bytes and 50 of the difference's: a microbatch takes its way, and only one is computed beside nothing.
  [
    "a link so slow that it bounds",
    [1, SHORT, 2, 8],
    12.5 + 3 + (2.5 + 0.25 + 2 + 50) + 1 + 10 + 8 * (3 + 25 + 2 + 2),
  ],
  // The second waits at the edge for the first: 0.25 with its ask, so that it comes there 0.375 after the first has pulled, then
  // 0.125 with its last push.
  [
    "two trainers meet at the edge",
    [2, NO_LINK, 4, 8],
    12.5 + 1.25 + 2.5 + 0.375 + 1 + 4 * 10 + 3 + 0.125,
  ],
  // Nobody takes a second one of three that three can have.
  [
    "as many trainers as microbatches, and one more",
    [4, NO_LINK, 8, 3],
    12.5 - 5 * 0.5 + 1.5 + 2.5 + 2 * 0.375 + 1 + 10 + 3 + 2 * 0.125,
  ],
] as const)(
  "a step on one machine: %s",
  (_what, [trainers, link, cores, microbatches], seconds) => {
    const setting = { trainers, shards: 2, microbatches, link };
    expect(nearStep(COSTS, CONSTANTS, setting, cores)).toBeCloseTo(seconds, 9);
  },
);

test("the last of several trainers is behind by a part of a microbatch", () => {
  const step = (trainers: number, lag: number) =>
    nearStep(
      COSTS,
      { ...CONSTANTS, lag },
      { trainers, shards: 2, microbatches: 8, link: NO_LINK },
      2,
    );
  expect(step(2, 0.75)).toBeCloseTo(step(2, 0) + 7.5, 9);
  expect(step(1, 0.75)).toBe(step(1, 0));
});

test("of one trainer and one microbatch nothing is hidden: all parts add up", () => {
  const setting = { trainers: 1, shards: 2, microbatches: 1, link: NO_LINK };
  const parts = 4 + 1.5 + 0.5 + 2 + 2 * 0.5 + 1 + 10 + 2 + 2 * 1 + 2.5;
  expect(nearStep(COSTS, CONSTANTS, setting, 1)).toBeCloseTo(parts, 9);
});

test("more trainers than cores come to what the cores can, and to what the edge's one thread can", () => {
  const microbatches = 256;
  const step = (
    costs: Partial<ModelCosts>,
    shares: Constants["shares"],
    trainers: number,
    cores: number,
  ) =>
    nearStep(
      { ...COSTS, pack: 0, pulledBytes: 0, ...costs },
      { ...CONSTANTS, pull: { each: 0, byte: 0 }, shares },
      { trainers, shards: 2, microbatches, link: NO_LINK },
      cores,
    );
  const commit = 4 + 1.5 + microbatches * 0.5 + 2 + 2 * 0.5;
  const idle = { edge: 0, trainer: 0 };
  const atCores = commit + 1 + (microbatches * 10) / 2.5 + 3;
  expect(step({}, idle, 4, 2.5)).toBeCloseTo(atCores, 6);
  // A trainer has a core of its own when it is one of few.
  expect(step({}, idle, 2, 2.5)).toBeCloseTo(commit + 1 + 128 * 10 + 3, 6);
  // First leases of 1 s, then pushes with their completions of 3, one after another.
  const edge = { edge: 1, trainer: 0 };
  expect(step({ compute: 0 }, edge, 64, 64)).toBeCloseTo(
    commit + 64 + microbatches * 3,
    6,
  );
});

test("a machine whose strands all wait for each other is an error, not endless", () => {
  function* waiting(): Strand {
    yield { until: () => false };
  }
  const machine = new PlayedMachine(1);
  machine.start(waiting());
  expect(() => machine.play(() => false)).toThrow(
    "Expected a strand that needs time, got none",
  );
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
  // The run with two trainers and the fewest shards tells by how much the last is behind, for all others.
  const apart = samples.map((sample) => ({
    ...sample,
    step: sample.step + (sample.trainers === 2 && sample.shards === 1 ? 5 : 0),
  }));
  const { constants, points: foreseen } = foretold(apart);
  expect(constants.lag).toBeCloseTo(0.5, 6);
  const other = foreseen.find((each) => each.trainers === 2 && !each.fitted)!;
  expect(other.predicted).toBeCloseTo(other.step + 5, 6);
  // As of a file that an earlier version wrote.
  const overlapping = samples.filter(
    ({ microbatches, preset }) => microbatches > 1 || preset === "tiny",
  );
  expect(() => foretold(overlapping)).toThrow(
    "Expected a run of small with one trainer, one microbatch and no link, got none",
  );
  const { checked, far } = rendered(scaling);
  expect(checked).toContain("not fitted, 7 of 7 are within 15 %");
  expect(checked).toContain("Of the fitted runs, 9 of 9.");
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
