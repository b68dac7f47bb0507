/** The model of docs/scaling.md, by hand. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { foretold } from "../../bench/scaling/fit.ts";
import { openLink } from "../../bench/scaling/link.ts";
import type { Sample } from "../../bench/scaling/measure.ts";
import {
  type Constants,
  farStep,
  fitCost,
  type ModelCosts,
  nearStep,
  NO_LINK,
} from "../../bench/scaling/model.ts";
import { rendered } from "../../bench/scaling/page.ts";

const COSTS: ModelCosts = {
  parameters: 1000,
  pulledBytes: 2000,
  pushedBytes: 500,
  compute: 10,
  reduce: 0.5,
  update: 4,
  difference: 0.25,
};
const CONSTANTS: Constants = {
  push: { each: 0.5, byte: 0.002 },
  pull: { each: 0.25, byte: 0.001 },
  ask: 1,
  commit: { once: 2, shard: 0.5 },
  difference: 0.5,
};
const LINK = { bytesPerSecond: 1000, roundTrip: 2 };

test.each([
  // commit = 4 + 8 · 0.5 + 2 + 2 · 0.5 = 11; push = 2; pull = 2.5; a microbatch 10 + 2 + 1 = 13.
  ["one trainer takes all in turn", 1, 4, NO_LINK, 11 + 2.5 + 8 * 13],
  ["two trainers, cores enough", 2, 4, NO_LINK, 11 + 2 * 2.5 + 4 * 13],
  ["four trainers on two cores", 4, 2, NO_LINK, 11 + (4 * 2.5 + 8 * 13) / 2],
  ["more trainers than microbatches", 9, 100, NO_LINK, 11 + 8 * 2.5 + 13],
  // 0.25 for the difference, half of the bytes; 0.5 s of bytes and two round trips more a microbatch.
  ["a slow link", 1, 4, LINK, 11 + 2.5 + 0.25 + 2 + 1 + 8 * (13 + 0.5 + 4)],
] as const)(
  "a step on one machine: %s",
  (_what, trainers, cores, link, seconds) => {
    const setting = { trainers, shards: 2, microbatches: 8, link };
    expect(nearStep(COSTS, CONSTANTS, setting, cores)).toBeCloseTo(seconds, 9);
  },
);

test("a step of machines apart: shards give and take one after another, and sums of neighbours spare them pushes", () => {
  const link = { bytesPerSecond: 1e9, roundTrip: 0 };
  const setting = { trainers: 64, shards: 4, microbatches: 64, link };
  const step = farStep(COSTS, CONSTANTS, setting);
  // given = 0.25 + 500 · 0.001, taken = 0.5 + 125 · 0.002
  expect(step.pull).toBeCloseTo(64 * 0.75, 9);
  expect(step.compute).toBeCloseTo(11, 9);
  expect(step.push).toBeCloseTo(64 * 0.75, 9);
  expect(step.commit).toBeCloseTo(4 / 4 + (64 * 0.5) / 4 + 2 + 0.5, 9);
  expect(step.seconds).toBeCloseTo(48 + 11 + 48 + 11.5, 9);
  // 16 to an object, then 4 sums of 1,000 bytes a shard.
  const sums = farStep(COSTS, CONSTANTS, setting, 16);
  expect(sums.push).toBeCloseTo(16 * (0.75 + 0.125) + 4 * (0.5 + 2), 9);
  expect(sums.commit).toBeCloseTo(4 / 4 + (4 * 0.5) / 4 + 2 + 0.5, 9);
});

test("constants are those of the points, and never below zero", () => {
  const points = [1, 2, 8].flatMap(
    (requests) =>
    [100, 5000].map((bytes) => ({ requests, bytes, seconds: 3 * requests + 0.01 * bytes })), // prettier-ignore
  );
  const { each, byte } = fitCost(points);
  expect(each).toBeCloseTo(3, 9);
  expect(byte).toBeCloseTo(0.01, 9);
  const falling = points.map((point) => ({ ...point, seconds: point.bytes - point.requests })); // prettier-ignore
  expect(fitCost(falling)).toMatchObject({ each: 0 });
});

test("runs that go as the model says are foretold from those with one trainer", () => {
  const points = [1, 4].flatMap((shards) => [
    ...["tiny", "small"].map((preset) => ({ preset, trainers: 1, shards, link: null })), // prettier-ignore
    { preset: "small", trainers: 2, shards, link: null },
    { preset: "small", trainers: 1, shards, link: LINK },
  ]);
  const samples = points.map((point) => {
    const size = point.preset === "tiny" ? 1 : 3;
    const costs = {
      ...COSTS,
      pulledBytes: 2000 * size,
      pushedBytes: 500 * size,
    };
    const setting = { ...point, microbatches: 8, link: point.link ?? NO_LINK };
    const commit = 4 + 8 * 0.5 + 2 + 0.5 * point.shards;
    return {
      ...setting,
      link: point.link,
      load: 0,
      step: nearStep(costs, CONSTANTS, setting, 2),
      lease: 8 + commit,
      pull: 0.25 * point.shards + 0.001 * costs.pulledBytes,
      compute: 80,
      push: 8 * (0.5 * point.shards + 0.002 * costs.pushedBytes),
      commit,
      share: point.link ? 0.5 : 1,
      costs,
    } as Sample;
  });
  const scaling = foretold(samples, 2);
  for (const { step, predicted } of scaling.points)
    expect(predicted / step).toBeCloseTo(1, 6);
  const { checked, far } = rendered(scaling);
  expect(checked).toContain("8 of 8 within 15 %");
  expect(far.split("\n")).toHaveLength(2 + 2 * 2 * 3);
});

test("a link brings all bytes in order, both ways, and ends with either end", async () => {
  const server = createServer(
    (request, response) => void request.pipe(response),
  );
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const { port } = server.address() as AddressInfo;
  const link = await openLink(`http://127.0.0.1:${port}`, { bytesPerSecond: 20e6, roundTrip: 0.01 }); // prettier-ignore
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
