/**
 * Promise 4 for jobs: a file that is large against an isolate's 128 MiB comes and is converted by two jobs
 * at once, and all that the isolate holds stays below. MEMORY_TEST_MIB sets the file's size.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JobRequest } from "../../src/api/tensors.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import {
  type InspectedEdge,
  startInspectedEdge,
} from "../support/inspected-edge.ts";
import {
  floatFile,
  FLOATS,
  MIB,
  streamOf,
  TENSOR_MIB,
} from "../support/large-files.ts";

const ISOLATE_BYTES = 128 * MIB;
const TENSORS = Number(process.env.MEMORY_TEST_MIB ?? 256) / TENSOR_MIB;

let folder: string;
let edge: InspectedEdge;
let client: Mxfp4Edge;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-job-memory-"));
  edge = await startInspectedEdge(folder);
  client = new Mxfp4Edge({ baseUrl: edge.url });
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The most that the isolate held while `body` ran, asked again and again. */
async function mostBytes(
  what: string,
  body: () => Promise<void>,
): Promise<number> {
  const started = performance.now();
  let isRunning = true;
  let most = 0;
  let samples = 0;
  const watch = async () => {
    while (isRunning) {
      most = Math.max(most, await edge.heapBytes());
      samples++;
    }
  };
  const stop = () => (isRunning = false);
  await Promise.all([watch(), body().finally(stop)]);
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${what}: at most ${(most / MIB).toFixed(0)} MiB in ${samples} samples, ${seconds.toFixed(1)} s`,
  );
  return most;
}

/** The job is seen where it has read and written something, and where it has not yet all. */
async function convert(request: JobRequest): Promise<void> {
  const { job } = await client.createJob(request);
  const seen = new Set<number>();
  const status = await client.finishedJob(job, ({ inputBytes, state }) => {
    if (state === "running") seen.add(inputBytes);
  });
  expect(status).toMatchObject({ state: "finished", error: null });
  expect(seen.size).toBeGreaterThan(2);
}

test("a file large against an isolate comes, and is converted, in less", async () => {
  const file = floatFile(TENSORS);
  const bytes = file.head.length + file.dataBytes;
  expect(bytes).toBeGreaterThan(1.5 * ISOLATE_BYTES);
  const upload = await mostBytes("upload", async () => {
    await client.putFile("source", { stream: streamOf(file, FLOATS), bytes });
  });
  const jobs = await mostBytes("two jobs", async () => {
    await Promise.all([
      convert({ operation: "hadamard", source: "source", result: "turned" }),
      convert({ operation: "quantize", source: "source" }),
    ]);
  });
  expect(Math.max(upload, jobs)).toBeLessThan(ISOLATE_BYTES);
});
