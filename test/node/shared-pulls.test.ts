/** The parameters that threads of one process have in common. */
import { MessageChannel } from "node:worker_threads";
import { expect, test } from "vitest";
import { AppError } from "../../src/api/errors.ts";
import type { Frame } from "../../src/api/frame.ts";
import { pullThrough, SharedPulls } from "../../src/cli/shared-pulls.ts";

function frameOf(shard: number, step: number): Frame {
  return {
    kind: "parameters",
    dtype: "bf16",
    step,
    microbatch: 0,
    start: shard * 4,
    length: 4,
    digest: "",
    payload: new Uint8Array(8).fill(16 * step + shard),
  };
}

/** Threads that ask one process, and what it has asked of the edge. */
function threads(
  count: number,
  fail: (asked: string[]) => Error | undefined,
  travelled?: { bytes: number; ms: number },
) {
  const asked: string[] = [];
  const bases: (number | undefined)[] = [];
  const pulls = new SharedPulls(async (shard, step, { base } = {}) => {
    asked.push(`${shard} ${step}`);
    bases.push(base?.step);
    await new Promise((resolve) => setTimeout(resolve));
    const error = fail(asked);
    if (error) throw error;
    base?.payload.set(frameOf(shard, step).payload);
    return {
      ...frameOf(shard, step),
      ...(base && { payload: base.payload }),
      ...(travelled && { travelled }),
    };
  });
  const leaving = new AbortController();
  const known = { createdMs: 1 };
  const pull = Array.from({ length: count }, () => {
    const { port1, port2 } = new MessageChannel();
    port2.on("message", (request) => void pulls.answer(request as never));
    port2.unref();
    return pullThrough(
      (request) => port1.postMessage(request, [request.answer]),
      leaving.signal,
      () => known.createdMs,
    );
  });
  return { known, pull, asked, bases, leaving };
}

test("a shard's frame of a step travels once, and lies in memory that all read", async () => {
  const { pull, asked } = threads(3, () => undefined);
  const [first, second] = await Promise.all([pull[0]!(1, 7), pull[1]!(1, 7)]);
  expect(first).toEqual({
    dtype: "bf16",
    start: 4,
    length: 4,
    payload: new Uint8Array(8).fill(16 * 7 + 1),
  });
  // It has travelled for one of them.
  expect(second.travelled).toEqual({ bytes: 0, ms: 0 });
  first.payload[0] = 1;
  expect(second.payload[0]).toBe(1);
  // One that is late has the same; another shard, and the next step, are others.
  expect((await pull[2]!(1, 7)).payload[0]).toBe(1);
  await pull[2]!(0, 7);
  expect((await pull[0]!(1, 8)).payload[0]).toBe(16 * 8 + 1);
  expect(asked).toEqual(["1 7", "0 7", "1 8"]);
  // When the run has gone back, so is the same step.
  await Promise.all([
    pull[0]!(1, 8, { rewinds: 1 }),
    pull[1]!(1, 8, { rewinds: 1 }),
  ]);
  expect(asked.slice(3)).toEqual(["1 8"]);
});

test("a refusal reaches who asked with its code, and whoever asks next tries again", async () => {
  const gone = new AppError("step_gone", "Expected step 8, got 7");
  const { pull, asked } = threads(2, ({ length }) =>
    length === 1 ? gone : length === 2 ? new Error("broken") : undefined,
  );
  const refused = [pull[0]!(0, 7), pull[1]!(0, 7)];
  for (const each of refused)
    await expect(each).rejects.toMatchObject({
      code: "step_gone",
      message: gone.message,
    });
  await expect(pull[1]!(0, 7)).rejects.toThrow("broken");
  expect((await pull[1]!(0, 7)).start).toBe(0);
  expect(asked).toHaveLength(3);
});

test("over a slow link a step is pulled as the difference to the one before, of which threads still have their own", async () => {
  const travelled = { bytes: 1_000_000, ms: 200 };
  const { pull, bases } = threads(1, () => undefined, travelled);
  const kept = [];
  for (const step of [1, 2, 4, 5]) kept.push(await pull[0]!(0, step));
  expect(bases).toEqual([undefined, 1, undefined, 4]);
  // A base becomes what is pulled, in the process's own memory alone.
  expect(kept.map(({ payload }) => payload[0])).toEqual([16, 32, 64, 80]);
});

test("a thread that leaves waits for no answer", async () => {
  const { pull, leaving } = threads(1, () => undefined);
  const waiting = pull[0]!(0, 1);
  leaving.abort();
  await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
});

test("of another run that has the id by now, the same step is asked for anew", async () => {
  const { known, pull, asked } = threads(2, () => undefined);
  await pull[0]!(0, 0);
  await pull[1]!(0, 0);
  expect(asked).toEqual(["0 0"]);
  known.createdMs = 2;
  await pull[0]!(0, 0);
  await pull[1]!(0, 0);
  expect(asked).toEqual(["0 0", "0 0"]);
});
