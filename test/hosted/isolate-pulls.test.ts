/** The parameters that trainers of one isolate have in common. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { AppError } from "../../src/api/errors.ts";
import type { RunStatus } from "../../src/api/run-status.ts";
import { IsolatePulls } from "../../src/hosted/isolate-pulls.ts";
import {
  letGoOf,
  type ParameterFrame,
} from "../../src/training/pulled-parameters.ts";
import type { TrainingService } from "../../src/training/service.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

type Asked = { step: number; answer(failure?: Error): void };

/** Trainers of one isolate, each of a run as it was created, and what they ask of its shards. */
async function trainers(...created: number[]) {
  const asked: Asked[] = [];
  const pulls = new IsolatePulls();
  const services = created.map((createdMs) =>
    pulls.sharedBy({
      status: async () => ({ run: "run", createdMs }) as RunStatus,
      pull: (shard: number, step: number) =>
        new Promise<ParameterFrame>((resolve, reject) => {
          const frame: ParameterFrame = {
            dtype: "bf16",
            start: 4 * shard,
            length: 4,
            payload: new Uint8Array(8).fill(step),
            travelled: { bytes: 8, ms: 1 },
          };
          asked.push({
            step,
            answer: (failure) => (failure ? reject(failure) : resolve(frame)),
          });
        }),
    } as unknown as TrainingService),
  );
  for (const service of services) await service.status();
  return { asked, services };
}

test("a shard's frame of a step is pulled once, and lies there until the last lets go of it", async () => {
  const { asked, services } = await trainers(1, 1, 1);
  const pulled = services.slice(0, 2).map((each) => each.pull(0, 7));
  await vi.advanceTimersByTimeAsync(100);
  expect(asked.length).toBe(1);
  asked[0]!.answer();
  await vi.advanceTimersByTimeAsync(100);
  const [first, second] = await Promise.all(pulled);
  expect(second!.payload).toBe(first!.payload);
  // It has travelled for one of them.
  expect(first!.travelled!.bytes + second!.travelled!.bytes).toBe(8);
  letGoOf(first!);
  letGoOf(first!);
  const third = await services[2]!.pull(0, 7);
  expect(third.payload).toBe(second!.payload);
  letGoOf(second!);
  expect(third.payload.length).toBe(8);
  letGoOf(third);
  expect(third.payload.length).toBe(0);
  void services[0]!.pull(0, 7);
  expect(asked.length).toBe(2);
});

test("another step, shard, rewind or creation of the run has its own, and an old lease takes nobody's", async () => {
  const { asked, services } = await trainers(1, 1, 2);
  const [one, other, later] = services as [
    TrainingService,
    TrainingService,
    TrainingService,
  ];
  void one.pull(0, 7);
  void other.pull(1, 7);
  void later.pull(0, 7);
  void other.pull(0, 6);
  const seven = other.pull(0, 7);
  await vi.advanceTimersByTimeAsync(100);
  expect(asked.map(({ step }) => step)).toEqual([7, 7, 7, 6]);
  asked[0]!.answer();
  await vi.advanceTimersByTimeAsync(100);
  expect((await seven).payload[0]).toBe(7);
  void other.pull(0, 7, { rewinds: 1 });
  await vi.advanceTimersByTimeAsync(100);
  expect(asked.length).toBe(5);
});

test("whoever waits pulls by itself when that fails, or never comes", async () => {
  const { asked, services } = await trainers(1, 1);
  const failed = services[0]!.pull(0, 7);
  const failure = expect(failed).rejects.toThrow("Expected step 8");
  const waiting = services[1]!.pull(0, 7);
  await vi.advanceTimersByTimeAsync(100);
  asked[0]!.answer(new AppError("step_gone", "Expected step 8"));
  await failure;
  await vi.advanceTimersByTimeAsync(100);
  expect(asked.length).toBe(2);
  // Its object is gone in the middle of it.
  const next = services[0]!.pull(0, 7);
  await vi.advanceTimersByTimeAsync(4_900);
  expect(asked.length).toBe(2);
  await vi.advanceTimersByTimeAsync(200);
  expect(asked.length).toBe(3);
  asked[2]!.answer();
  expect((await next).payload[0]).toBe(7);
  asked[1]!.answer();
  expect((await waiting).payload[0]).toBe(7);
});
