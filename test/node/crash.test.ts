/**
 * Promises 1 and 2 under SIGKILL: what was acknowledged is still there, and a run whose processes were
 * killed ends in the bytes of one that was left alone. Killed by pid; Miniflare starts them again.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { killEdge } from "../../bench/edge-processes.ts";
import { encodeFrame } from "../../src/api/frame.ts";
import type { RunRequest } from "../../src/api/run-config.ts";
import {
  type Running,
  startEdge,
  startTrainerHost,
} from "../../src/local/edge.ts";
import { Client } from "../../src/client/client.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { normals } from "../support/random.ts";

const CONFIG: RunRequest = {
  dataset: "corpus",
  model: { layers: 1, width: 64, heads: 2, context: 64 },
  steps: 24,
  microbatches: 3,
  sequences: 1,
  evaluation: { interval: 8, microbatches: 2 },
  shards: 2,
  // Not a divisor of where the kills fall: recovery replays a log over a snapshot.
  snapshotSteps: 5,
};

/** For what takes a second on an idle machine. */
const PATIENCE_MS = 60_000;

let root: string;
let edge: Running;
let hosts: Running[];
let client: Client;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "mxfp4-crash-test-"));
  edge = await startEdge({ stateFolder: folder("edge"), quiet: true });
  hosts = await Promise.all(
    ["one", "two"].map((name) =>
      startTrainerHost({ apiUrl: edge.url, stateFolder: folder(name) }),
    ),
  );
  client = new Client({ baseUrl: edge.url });
  const text = "It was the best of times, it was the worst of times. ".repeat(
    200,
  );
  await client.putDataset("corpus", new Blob([text]));
});

afterAll(async () => {
  await Promise.all([...hosts, edge].map((running) => running.close()));
  rmSync(root, { recursive: true, force: true });
});

/** Each process has a state folder of its own, so that its pid can be told. */
function folder(name: string): string {
  return join(root, name);
}

/** Returns how many processes there were to kill. */
function kill(name: string): number {
  return killEdge(folder(name));
}

async function start(): Promise<RunClient> {
  const { run } = await client.createRun(CONFIG);
  for (const host of hosts) {
    await new Client({ baseUrl: host.url }).run(run).addTrainers(1);
  }
  return client.run(run);
}

/** Follow the run to its end; `atStep` is called once for each step that is committed. */
async function outcome(run: RunClient, atStep: (step: number) => void) {
  for await (const event of run.events()) {
    if (event.type === "step") atStep(event.metrics.step);
  }
  const { state } = await run.status();
  const metrics = await run.metrics();
  const checkpoint = new Uint8Array(
    await (await run.checkpoint()).arrayBuffer(),
  );
  return {
    state,
    losses: metrics.map(({ trainLoss, valLoss, gradNorm }) => [
      trainLoss,
      valLoss,
      gradNorm,
    ]),
    checkpoint: Buffer.from(checkpoint).toString("base64"),
  };
}

test("a run whose API, shards and trainers are killed again and again ends in the same bytes", async () => {
  const calm = await outcome(await start(), () => undefined);
  expect(calm.state).toBe("finished");

  const victims = new Map([
    [2, ["edge"]],
    [5, ["one"]],
    [8, ["edge"]],
    [12, ["edge", "two"]],
    [17, ["one", "two"]],
    [21, ["edge", "one", "two"]],
  ]);
  const killed: number[] = [];
  const stormy = await outcome(await start(), (step) => {
    const names = victims.get(step);
    if (!names) return;
    killed.push(step);
    for (const name of names) kill(name);
  });
  expect(killed).toEqual([...victims.keys()]);
  expect(stormy).toEqual(calm);
});

test("a push that was acknowledged survives SIGKILL, and repeating it changes nothing", async () => {
  const { run, shards, config } = await client.createRun({
    ...CONFIG,
    gradientDtype: "f32",
  });
  const { start: first, length } = shards[0]!;
  const frameOf = (seed: number) =>
    encodeFrame(
      {
        kind: "gradient",
        dtype: "f32",
        step: 0,
        microbatch: 1,
        start: first,
        length,
      },
      new Uint8Array(normals(length, seed).buffer),
    );
  const leases = [];
  for (const trainer of ["one", "two"]) {
    const who = { trainer, bootId: "boot", fingerprint: "test" };
    leases.push((await client.run(run).lease(who)).lease!);
  }
  const { key, index } = leases[1]!;
  expect(index).toBe(1);
  const push = async (frame: Uint8Array<ArrayBuffer>) => {
    const path = `/v1/runs/${run}/shards/0/gradients/0/1`;
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      // The API that was killed is back within a second; until then a connection fails.
      const answer = await fetch(edge.url + path, {
        method: "PUT",
        headers: {
          "Content-Type": "application/octet-stream",
          "Lease-Key": key,
        },
        body: frame,
      }).catch(() => undefined);
      if (answer) return { status: answer.status, body: await answer.text() };
      expect(Date.now()).toBeLessThan(deadline);
      await new Promise((wake) => setTimeout(wake, 50));
    }
  };
  expect(config.gradientDtype).toBe("f32");
  const frame = await frameOf(1);
  expect((await push(frame)).status).toBe(201);
  for (let round = 0; round < 3; round++) {
    expect(kill("edge")).toBe(1);
    expect(await push(frame)).toEqual({
      status: 200,
      body: '{"duplicate":true}',
    });
  }
  kill("edge");
  expect((await push(await frameOf(2))).status).toBe(409);
  await client.run(run).setState("cancelled");
});
