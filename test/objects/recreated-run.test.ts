/** What was begun with a run, and goes on when another has its id, or when it has gone back. */
import { reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import { openCheckpoint } from "../../src/objects/run/checkpoint-stream.ts";
import type { CheckpointFolder } from "../../src/training/checkpoint-folder.ts";
import { RunTrainer } from "../../src/training/trainer.ts";
import {
  bindings,
  finish,
  FINGERPRINT,
  outcomeOf,
  ScriptedTrainer,
  startRun,
  startScripted,
} from "../support/run.ts";

afterEach(reset);

test("a trainer of the owner's that was away while its run was removed trains the one that has its id now", async () => {
  const first = await startRun({ run: "again" });
  const { run } = first;
  const dataset = first.status.config.dataset.name;
  const stop = new AbortController();
  const trainer = new RunTrainer(run, {
    trainer: "one",
    bootId: "boot",
    fingerprint: FINGERPRINT,
  });
  // At the same step as the other will be, with the parameters at hand.
  await trainer.train({
    signal: stop.signal,
    onCompleted: () => stop.abort(),
  });
  await run.setState("cancelled");
  await run.remove();
  const changes = { dataset, seed: 2, microbatches: 2 };
  await startRun({ ...changes, run: "again" });
  expect(await trainer.train()).toBe("ended");
  const plain = await startRun(changes);
  await finish(plain.run);
  expect(await outcomeOf(run)).toEqual(await outcomeOf(plain.run));
});

/** Reads a checkpoint that was opened before. */
async function read({ weights, bytes }: CheckpointFolder): Promise<number> {
  let read = 0;
  for await (const chunk of weights(0, bytes)) read += chunk.length;
  return read;
}

test("a checkpoint that is being read breaks off when its run is removed or goes back, and gets no bytes of what comes after", async () => {
  const open = async (run: string) => {
    const { folder } = await openCheckpoint(bindings, run, { isFull: true });
    return folder;
  };
  const owner = await startScripted({ run: "again", steps: 5 });
  const dataset = owner.status.config.dataset.name;
  await owner.reach(3);
  const before = await open("again");
  // Back to 2, and then other gradients to the same step.
  expect((await owner.run.rewind(2)).step).toBe(2);
  while ((await owner.run.status()).step < 3) await owner.doLease(77);
  const after = await open("again");
  expect(await read(after)).toBeGreaterThan(0);
  await expect(read(before)).rejects.toMatchObject({
    code: "step_gone",
  });

  const removed = await open("again");
  await owner.run.setState("cancelled");
  await owner.run.remove();
  const { run, status } = await startRun({ run: "again", dataset, seed: 9, gradientDtype: "f32" }); // prettier-ignore
  const other = new ScriptedTrainer(run, status);
  await other.reach(3);
  expect(await read(await open("again"))).toBeGreaterThan(0);
  await expect(read(removed)).rejects.toMatchObject({
    code: "step_gone",
  });
});
