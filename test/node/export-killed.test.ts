/** All of a run's state, saved while its edge is killed: whole or not at all, and what goes on from it ends in the same bytes. */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { killEdge } from "../../bench/edge-processes.ts";
import type { RunRequest } from "../../src/api/run-config.ts";
import { saveCheckpoint } from "../../src/cli/train/save-checkpoint.ts";
import { Client } from "../../src/client/client.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { fingerprint } from "../../src/kernels/matmul.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { RunTrainer } from "../../src/training/trainer.ts";

/** Its state is 12 MB: more than is under way at once. */
const CONFIG: RunRequest = {
  dataset: "corpus",
  model: { layers: 2, width: 256, heads: 4, context: 64 },
  recipe: "bf16",
  steps: 4,
  microbatches: 2,
  sequences: 1,
  evaluation: { interval: 9, microbatches: 1 },
  shards: 2,
  snapshotSteps: 2,
};
const KILLS = 3;

let root: string;
let edge: Running;
let client: Client;

beforeAll(async () => {
  loadKernelsFile();
  root = mkdtempSync(join(tmpdir(), "mxfp4-export-killed-"));
  edge = await startEdge({ stateFolder: root, quiet: true, report: () => {} });
  client = new Client({ baseUrl: edge.url });
  const text = "It was the best of times, it was the worst of times. ";
  await client.putDataset("corpus", new Blob([text.repeat(100)]));
});

afterAll(async () => {
  await edge.close();
  rmSync(root, { recursive: true, force: true });
});

/** Train until so many microbatches are done, or to the end. */
async function train(run: RunClient, microbatches = Infinity): Promise<void> {
  const stop = new AbortController();
  let done = 0;
  const trainer = new RunTrainer(run, {
    trainer: "one",
    bootId: crypto.randomUUID(),
    fingerprint: fingerprint(),
  });
  const onCompleted = () => {
    if (++done === microbatches) stop.abort();
  };
  await trainer.train({ signal: stop.signal, onCompleted });
}

const sha256 = (bytes: Uint8Array) =>
  createHash("sha256").update(bytes).digest("hex");

async function outcome(run: RunClient) {
  const { state } = await run.status();
  const answer = await run.checkpoint({ state: "full" });
  return { state, bytes: sha256(await answer.bytes()) };
}

test("a state that is saved while its edge is killed is there whole or not at all, and what goes on from it ends in the bytes of the run", async () => {
  const { run: name } = await client.createRun(CONFIG);
  const run = client.run(name);
  // Amid a step: what is told of it stays with the run, and is no part of its state.
  await train(run, 2 * 2 + 1 + 1);
  const calm = join(root, "calm.safetensors");
  await saveCheckpoint(run, calm, false, true);

  const file = join(root, "killed.safetensors");
  let broken = 0;
  for (let round = 0; round < KILLS; round++) {
    const { body } = await run.checkpoint({ state: "full" });
    const reader = body!.getReader();
    let bytes = (await reader.read()).value!.length;
    expect(killEdge(root)).toBeGreaterThan(0);
    // What comes after is an error, not an end.
    const rest = (async () => {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return "ended";
        bytes += value.length;
      }
    })();
    const end = await rest.catch(() => "broken");
    if (end === "broken") broken++;
    else expect(bytes).toBe(readFileSync(calm).length);

    const saving = saveCheckpoint(run, file, false, true);
    while (!existsSync(`${file}.${name}.partial`))
      await Promise.race([new Promise((wake) => setTimeout(wake, 1)), saving]);
    killEdge(root);
    await saving.catch(() => {});
    if (existsSync(file))
      expect(readFileSync(file).equals(readFileSync(calm))).toBe(true);
    else broken++;
    expect(readdirSync(root).filter((each) => /partial/.test(each))).toEqual(
      [],
    );
    rmSync(file, { force: true });
  }
  // Some were late, and had all of it.
  expect(broken).toBeGreaterThan(0);
  // As one leaves it that is killed itself amid that: longer than the state, here.
  const left = `${file}.${name}.partial`;
  writeFileSync(left, new Uint8Array(2 * readFileSync(calm).length));
  expect(await saveCheckpoint(run, file, false, true)).toBe(file);
  expect(readFileSync(file).equals(readFileSync(calm))).toBe(true);

  const put = await fetch(`${edge.url}/v1/files/state/model.safetensors`, {
    method: "PUT",
    body: readFileSync(file),
  });
  expect(put.status).toBe(201);
  const resumed = client.run(
    (await client.createRun({ ...CONFIG, from: "state", resume: true })).run,
  );
  await train(run);
  await train(resumed);
  const expected = await outcome(run);
  expect(expected.state).toBe("finished");
  expect(await outcome(resumed)).toEqual(expected);
}, 120_000);
