import { expect, test } from "vitest";
import { LeaseTime } from "../../src/objects/run/lease-time.ts";
import {
  type Microbatch,
  StepLeases,
} from "../../src/objects/run/step-leases.ts";

const HOUR = (): number => 3_600_000;
const one = { trainer: "one", bootId: "a" };
const two = { trainer: "two", bootId: "a" };

function workOf(...indexes: number[]): StepLeases {
  return new StepLeases(
    7,
    indexes.map((index): Microbatch => ({ kind: "train", index })),
  );
}

test("each microbatch is leased once, in order, until all are completed", () => {
  const work = workOf(0, 1);
  expect(work.take(one, 1000, HOUR)).toEqual({
    kind: "train",
    step: 7,
    index: 0,
    deadlineMs: 3_601_000,
  });
  expect(work.take(two, 1000, HOUR)).toMatchObject({ index: 1 });
  expect(work.take({ trainer: "three", bootId: "a" }, 1000, HOUR)).toBeNull();
  expect(work.complete({ kind: "train", index: 0 }, 1500)).toBe(500);
  expect(work.isDone).toBe(false);
  work.complete({ kind: "train", index: 1 }, 1500);
  expect(work.isDone).toBe(true);
});

test("asking again, after an answer was lost, gives the same lease", () => {
  const work = workOf(0, 1);
  const lease = work.take(one, 0, HOUR);
  expect(work.take(one, 10, HOUR)).toEqual(lease);
});

test("a lease past its deadline is given to the next who asks", () => {
  const work = workOf(0);
  work.take(one, 0, () => 100);
  expect(work.firstDeadlineMs).toBe(100);
  expect(work.take(two, 99, HOUR)).toBeNull();
  expect(work.take(two, 100, HOUR)).toMatchObject({ index: 0 });
});

test("a new boot frees what the old one held, and nobody else's", () => {
  const work = workOf(0, 1);
  work.take(one, 0, HOUR);
  work.take(two, 0, HOUR);
  const reborn = { trainer: "one", bootId: "b" };
  work.releaseOtherBoots(reborn);
  expect(work.isHolding("two", 0)).toBe(true);
  expect(work.isHolding("one", 0)).toBe(false);
  expect(work.take(reborn, 0, HOUR)).toMatchObject({ index: 0 });
  expect(work.take({ trainer: "three", bootId: "a" }, 0, HOUR)).toBeNull();
});

test("a microbatch completed by another than its holder is done", () => {
  const work = workOf(0, 1);
  expect(work.complete({ kind: "train", index: 1 }, 0)).toBeUndefined();
  expect(work.take(one, 0, HOUR)).toMatchObject({ index: 0 });
  expect(work.take(two, 0, HOUR)).toBeNull();
});

test("a lease lasts four times what the slowest microbatch of its kind took lately", () => {
  const time = new LeaseTime();
  expect(time.durationMs("train")).toBe(60_000);
  time.measured("train", 2_000);
  expect(time.durationMs("train")).toBe(8_000);
  time.measured("train", 100);
  expect(time.durationMs("train")).toBe(7_600);
  for (let i = 0; i < 100; i++) time.measured("train", 100);
  expect(time.durationMs("train")).toBe(5_000);
  expect(time.durationMs("eval")).toBe(60_000);
});
