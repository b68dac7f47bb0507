/** What was begun with a run, and goes on when another has its id, or when it has gone back. */
import { reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import { openCheckpoint } from "../../src/objects/run/checkpoint-stream.ts";
import type { ShardStub } from "../../src/objects/shard/shard-stub.ts";
import type { CheckpointFolder } from "../../src/training/checkpoint-folder.ts";
import { RunTrainer } from "../../src/training/trainer.ts";
import { problemOf, send } from "../http/support.ts";
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
  const { run, status } = await startRun({
    run: "again",
    dataset,
    seed: 9,
    gradientDtype: "f32",
  });
  const other = new ScriptedTrainer(run, status);
  await other.reach(3);
  expect(await read(await open("again"))).toBeGreaterThan(0);
  await expect(read(removed)).rejects.toMatchObject({
    code: "step_gone",
  });
});

const REWOUND = /: the run was rewound; request the checkpoint again$/;

test.each(["safetensors", "hf", "gguf", "gguf-mxfp4"])(
  "an export as %s whose run is rewound before its first byte is refused, and says so",
  async (format) => {
    const { run } = await startScripted({ steps: 5 });
    const getByName = (name: string) => {
      const shard = bindings.PARAMETER_SHARD.getByName(
        name,
      ) as unknown as ShardStub;
      return {
        pinned: async (...args: Parameters<ShardStub["pinned"]>) => {
          await run.rewind(0);
          return shard.pinned(...args);
        },
      };
    };
    const PARAMETER_SHARD = { getByName } as unknown as DurableObjectNamespace;
    const path = `/v1/runs/${run.run}/checkpoint?format=${format}`;
    const refused = await send(path, {}, { PARAMETER_SHARD });
    const { detail } = await problemOf(refused, 410, "step_gone");
    expect(detail).toMatch(REWOUND);
  },
);

test("amid the bytes, reading an export fails with what its run says: it was rewound, removed, or another has its id", async () => {
  const owner = await startScripted({ run: "again", steps: 9, shards: 3 });
  const { run } = owner;
  await owner.reach(3);
  type Options = Parameters<typeof run.checkpoint>[0];
  const begin = async (options?: Options) => {
    const response = await run.checkpoint(options);
    const reader = response.body!.getReader();
    let read = (await reader.read()).value!.length;
    const readRest = async () => {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        read += value.length;
      }
      expect(`${read}`).toBe(response.headers.get("Content-Length"));
    };
    return readRest;
  };
  // What its run only goes on under comes whole.
  const whole = await begin();
  await owner.reach(4);
  await whole();

  const readings = await Promise.all([
    begin({ state: "full" }),
    begin({ format: "hf" }),
  ]);
  // Step 4 comes again, and is another.
  expect((await run.rewind(3)).step).toBe(2);
  while ((await run.status()).step < 4) await owner.doLease(77);
  for (const readRest of readings)
    await expect(readRest()).rejects.toMatchObject({
      code: "step_gone",
      message: expect.stringMatching(REWOUND) as string,
    });

  const ofRemoved = await begin();
  await run.setState("cancelled");
  const ofAnother = await begin();
  await run.remove();
  await expect(ofRemoved()).rejects.toMatchObject({ code: "run_not_found" });
  await startRun({
    run: "again",
    dataset: owner.status.config.dataset.name,
    seed: 9,
  });
  await expect(ofAnother()).rejects.toThrow(
    "another has its id; request the checkpoint again",
  );
});

test("an export whose state gave way to later ones says which", async () => {
  const owner = await startScripted({ steps: 9, shards: 3, snapshotSteps: 9 });
  await owner.reach(1);
  const first = await owner.run.checkpoint();
  for (const step of [2, 3]) {
    await owner.reach(step);
    await (await owner.run.checkpoint()).arrayBuffer();
  }
  await expect(first.arrayBuffer()).rejects.toMatchObject({
    code: "step_gone",
    message: expect.stringContaining("one of 0, 3; got 1") as string,
  });
});
