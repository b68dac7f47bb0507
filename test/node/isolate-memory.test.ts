/**
 * Promise 4 for all that shares an isolate: whatever it is asked at once, it holds less than its 128 MiB,
 * garbage included. MEMORY_TEST_SECONDS sets how long each preset is trained.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { encodeFrame } from "../../src/api/frame.ts";
import type { ModelShape, RunRequest } from "../../src/api/run-config.ts";
import { Client } from "../../src/client/client.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import { MAX_WAIT_MS } from "../../src/memory/ledger.ts";
import { MODEL_PRESETS } from "../../src/cli/train/presets.ts";
import {
  type InspectedEdge,
  mostBytes,
  startInspectedEdge,
} from "../support/inspected-edge.ts";
import { MIB } from "../support/large-files.ts";
import { normals, uniform } from "../support/random.ts";
import { spawnTrainers } from "../support/trainers.ts";

const ISOLATE_BYTES = 128 * MIB;
/** Of the edge's process, whose runtime, caches of databases and simulated bucket come on top. */
const MAX_RESIDENT_GROWTH = 64 * MIB;
const TRAINING_SECONDS = Number(process.env.MEMORY_TEST_SECONDS ?? 5);

let folder: string;
let edge: InspectedEdge;
let client: Client;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-isolate-memory-"));
  edge = await startInspectedEdge(folder);
  client = new Client({ baseUrl: edge.url });
  const text = "It was the best of times, it was the worst of times. ";
  await client.putDataset("corpus", new Blob([text.repeat(4000)]));
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** On a connection of its own: one that was kept may be closed by then. */
function send(
  method: string,
  path: string,
  body?: Uint8Array<ArrayBuffer>,
): Promise<number> {
  const headers = body && {
    "Content-Type": BINARY,
    "Content-Length": body.length,
  };
  return new Promise((resolve, reject) => {
    const options = {
      method,
      agent: false as const,
      ...(headers && { headers }),
    };
    const call = request(edge.url + path, options, (response) => {
      response.on("error", reject);
      response.on("end", () => resolve(response.statusCode!));
      response.resume();
    });
    call.on("error", reject);
    call.end(body);
  });
}

const BINARY = "application/octet-stream";

/** `a` and `b` of these shapes, f32. */
function floats(shape: [number, number], names = ["a", "b"]) {
  const heads = names.map((name) => ({ name, dtype: "F32" as const, shape }));
  const { head, dataBytes } = writeHead(heads, new Map());
  const file = new Uint8Array(head.length + dataBytes);
  file.set(head);
  const piece = new Uint8Array(normals(4096, 1).buffer);
  for (let at = head.length; at < file.length; at += piece.length)
    file.set(piece.subarray(0, file.length - at), at);
  return file;
}

async function createRun(
  model: Omit<ModelShape, "vocabulary">,
  shards: number,
  changes: Partial<RunRequest> = {},
): Promise<RunClient> {
  const { run } = await client.createRun({
    dataset: "corpus",
    model,
    shards,
    sequences: 1,
    steps: 100_000,
    ...changes,
  });
  return client.run(run);
}

/** A slow machine tells those that have waited for memory for as long as it lets them to come again. */
async function patiently(one: () => Promise<number>): Promise<number> {
  for (;;) {
    const sent = performance.now();
    const status = await one();
    if (status !== 503) return status;
    expect(performance.now() - sent).toBeGreaterThan(MAX_WAIT_MS);
  }
}

/** `count` at once, then a third of them one after the other. */
async function manyOf(count: number, one: () => Promise<number>) {
  const statuses = await Promise.all(
    Array.from({ length: count }, () => patiently(one)),
  );
  for (let i = 0; i < count / 3; i++) statuses.push(await patiently(one));
  return statuses;
}

const [LARGE, MANY] = [floats([1024, 1024]), 60];

test.each([
  ["POST", "/v1/gemm", MANY, 200],
  ["POST", "/v1/quantize", MANY, 200],
  ["POST", "/v1/hadamard", MANY, 200],
  ["POST", "/v1/analyze", MANY, 200],
  // What goes to a disk takes the longer the more of it: twice as much as an isolate has, not four times.
  ["PUT", "/v1/files/large", MANY / 2, 201],
])(
  "%s %s of 8 MiB, %i at once and a third of them in sequence",
  async (method, path, count, status) => {
    let statuses: number[] = [];
    const most = await mostBytes(edge, `${count} × ${path}`, async () => {
      statuses = await manyOf(count, () => send(method, path, LARGE));
    });
    expect(new Set(statuses)).toEqual(new Set([status]));
    expect(most).toBeLessThan(ISOLATE_BYTES);
  },
);

test("pushes of 6.9 MiB to a run that does not exist are refused before they are read", async () => {
  const length = 1_808_384;
  const frame = await encodeFrame(
    {
      kind: "gradient",
      dtype: "f32",
      step: 0,
      microbatch: 0,
      start: 0,
      length,
    },
    new Uint8Array(4 * length),
  );
  let statuses: number[] = [];
  const most = await mostBytes(edge, `${MANY} pushes`, async () => {
    statuses = await manyOf(MANY, () =>
      send("PUT", "/v1/runs/none/shards/0/gradients/0/0", frame),
    );
  });
  expect(new Set(statuses)).toEqual(new Set([404]));
  expect(most).toBeLessThan(ISOLATE_BYTES / 2);
});

test("pulls of a run whose shards together are larger than an isolate", async () => {
  const run = await createRun(MODEL_PRESETS.medium, 6);
  const path = (shard: number) =>
    `/v1/runs/${run.run}/shards/${shard}/parameters?step=0`;
  const statuses: number[] = [];
  const most = await mostBytes(edge, "24 rounds of pulls", async () => {
    for (let round = 0; round < 24; round++) {
      const shards = Array.from({ length: 6 }, (_, shard) =>
        send("GET", path(shard)),
      );
      statuses.push(...(await Promise.all(shards)));
    }
  });
  expect(new Set(statuses)).toEqual(new Set([200]));
  expect(most).toBeLessThan(ISOLATE_BYTES);
  await run.setState("cancelled");
});

test("a tokenizer of most ids, on a text with more words than are counted", async () => {
  const next = uniform(1);
  const letter = () => (next() < 0.12 ? 32 : 97 + Math.floor(26 * next()));
  const text = Uint8Array.from({ length: 6 * MIB }, letter);
  const most = await mostBytes(edge, "a tokenizer", async () => {
    const options = { tokenizer: "bpe", vocabulary: 16_384 } as const;
    await client.putDataset("wild", new Blob([text]), options);
    const { vocabulary } = await client.readyDataset("wild");
    expect(vocabulary).toBe(16_384);
  });
  expect(most).toBeLessThan(ISOLATE_BYTES);
});

test("shards, two hosted trainers, large requests and a job at once", async () => {
  const run = await createRun(MODEL_PRESETS.small, 2);
  const files = new Mxfp4Edge({ baseUrl: edge.url });
  const file = floats([4096, 2048]);
  await files.putFile("source", file);
  await run.addTrainers(2);
  const statuses: number[] = [];
  const most = await mostBytes(edge, "all at once", async () => {
    const { job } = await files.createJob({
      operation: "quantize",
      source: "source",
    });
    for (let round = 0; round < 4; round++) {
      const sent = Array.from({ length: 4 }, () =>
        patiently(() => send("POST", "/v1/gemm", LARGE)),
      );
      sent.push(patiently(() => send("POST", "/v1/quantize", file)));
      statuses.push(...(await Promise.all(sent)));
    }
    expect(await files.finishedJob(job)).toMatchObject({ state: "finished" });
    await reach(run, 2);
  });
  expect(new Set(statuses)).toEqual(new Set([200]));
  expect(most).toBeLessThan(ISOLATE_BYTES);
  await run.setState("cancelled");
});

async function reach(run: RunClient, step: number): Promise<void> {
  for await (const event of run.events())
    if (event.type === "step" && event.metrics.step >= step) return;
}

/** Resident bytes of the edge's process. */
function resident(): number {
  const [pid] = readdirSync(join(folder, "pids"));
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

test.each([
  // Until the first steps have taken what every step takes: buffers, the optimizer's and the kernels' memory.
  ["nano", 2, 20],
  ["tiny", 2, 20],
  ["small", 2, 6],
  ["medium", 6, 2],
] as const)(
  "training %s: the edge's isolate, and its process does not grow",
  async (preset, shards, warmUpSteps) => {
    const run = await createRun(MODEL_PRESETS[preset], shards);
    const trainers = spawnTrainers(edge.url, run.run, 2);
    let sampler: NodeJS.Timeout | undefined;
    try {
      await reach(run, warmUpSteps);
      const samples: number[] = [];
      sampler = setInterval(() => samples.push(resident()), 100);
      const most = await mostBytes(
        edge,
        `training ${preset}`,
        () => new Promise((wake) => setTimeout(wake, TRAINING_SECONDS * 1000)),
      );
      // Garbage comes and goes; what is flat is its height.
      const half = samples.length >> 1;
      const before = Math.max(...samples.slice(0, half));
      const growth = Math.max(...samples.slice(half)) - before;
      const { step } = await run.status();
      console.log(
        `${preset}: ${step} steps, resident ${(before / MIB).toFixed(0)} MiB and ${(growth / MIB).toFixed(0)} more`,
      );
      expect(most).toBeLessThan(ISOLATE_BYTES);
      expect(growth).toBeLessThan(MAX_RESIDENT_GROWTH);
    } finally {
      clearInterval(sampler);
      await run.setState("cancelled");
      await trainers.ended;
      await run.remove();
    }
  },
);
