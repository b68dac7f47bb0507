/**
 * Promise 4 for jobs: a file that is large against an isolate's 128 MiB comes and is converted by two jobs
 * at once, and all that the isolate holds stays below half of that. MEMORY_TEST_MIB sets the file's size.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JobRequest } from "../../src/api/tensors.ts";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import {
  type InspectedEdge,
  mostBytes,
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
/** The other half is for what shares the isolate: shards, other requests. */
const MOST_BYTES = ISOLATE_BYTES / 2;
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

async function convert(request: JobRequest): Promise<void> {
  const { job } = await client.createJob(request);
  const status = await client.finishedJob(job);
  expect(status).toMatchObject({ state: "finished", error: null });
}

test("a file large against an isolate comes, and two jobs convert it, in half of that", async () => {
  const file = floatFile(TENSORS);
  const bytes = file.head.length + file.dataBytes;
  expect(bytes).toBeGreaterThan(1.5 * ISOLATE_BYTES);
  const upload = await mostBytes(edge, "upload", async () => {
    await client.putFile("source", { stream: streamOf(file, FLOATS), bytes });
  });
  const jobs = await mostBytes(edge, "two jobs", async () => {
    await Promise.all([
      convert({ operation: "hadamard", source: "source" }),
      convert({ operation: "quantize", source: "source" }),
    ]);
  });
  expect(Math.max(upload, jobs)).toBeLessThan(MOST_BYTES);
});

test("what a job holds from one alarm to the next does not pile up", async () => {
  // Its scales, 8 MiB, which each alarm reads and writes down.
  const blocks = 8 * MIB;
  const file = writeHead(
    [
      { name: "x_blocks", dtype: "U8", shape: [blocks, 16] },
      { name: "x_scales", dtype: "U8", shape: [blocks] },
    ],
    new Map(),
  );
  const bytes = file.head.length + file.dataBytes;
  const stream = streamOf(file, new Uint8Array(MIB).fill(0x7a));
  await client.putFile("pair", { stream, bytes });
  const most = await mostBytes(edge, "a job that holds 8 MiB", () =>
    convert({
      operation: "dequantize",
      source: "pair",
      options: { dtype: "bf16" },
    }),
  );
  expect(most).toBeLessThan(MOST_BYTES);
});
