/** A job whose process is killed again and again ends in the bytes of one that was left alone, and goes. */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { killEdge } from "../../bench/edge-processes.ts";
import type { JobRequest, JobStatus } from "../../src/api/tensors.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { floatFile } from "../support/large-files.ts";
import { normals } from "../support/random.ts";

const ROWS = 20 * 1024;
const VALUES = normals(ROWS * 1024, 1);
/** 80 MiB in and 80 MiB out: five alarms, ten parts. */
const REQUEST = {
  operation: "hadamard",
  source: "weights.safetensors",
  options: { hadamard: 128, seed: 3 },
} as const satisfies JobRequest;

/** For alarms, which come by themselves. */

let folder: string;
let edge: Running;
let client: Mxfp4Edge;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-job-test-"));
  await start();
  const header = JSON.stringify({
    w: {
      dtype: "F32",
      shape: [ROWS, 1024],
      data_offsets: [0, VALUES.byteLength],
    },
  });
  const length = new BigUint64Array([BigInt(header.length)]);
  await client.putFile(
    REQUEST.source,
    new Blob([length, header, VALUES as Float32Array<ArrayBuffer>]),
  );
});

async function start(): Promise<void> {
  edge = await startEdge({ stateFolder: folder, quiet: true });
  client = new Mxfp4Edge({ baseUrl: edge.url });
}

/** The command itself ends and is started again. */
async function restart(): Promise<void> {
  await edge.close();
  await start();
}

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function digestOf({ state, result, error }: JobStatus): Promise<string> {
  expect(error).toBeNull();
  expect(state).toBe("finished");
  return digest(await client.file(result));
}

async function digest({ body }: Response): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of body!) hash.update(chunk);
  return hash.digest("hex");
}

test("killed at every stretch, a job ends in the same bytes", async () => {
  const calm = await client.createJob({ ...REQUEST, clientKey: "calm" });
  const expected = await digestOf(await client.finishedJob(calm.job));
  const source = await (await client.file(REQUEST.source)).blob();
  const { hadamard, seed } = REQUEST.options;
  const answer = await client.hadamard(source, { hadamard, seed });
  expect(await digest(answer)).toBe(expected);

  await client.createJob({ ...REQUEST, clientKey: "stormy" });
  const seen = new Set<number>();
  const status = await client.finishedJob("stormy", ({ state, inputBytes }) => {
    if (state !== "running" || seen.has(inputBytes)) return;
    seen.add(inputBytes);
    killEdge(folder);
  });
  expect(seen.size).toBeGreaterThan(2);
  expect(await digestOf(status)).toBe(expected);
  expect(status.log.some(({ text }) => text.startsWith("resumed"))).toBe(true);

  // The same request again is the same job, and the file is there once.
  const again = await client.createJob({ ...REQUEST, clientKey: "stormy" });
  expect(again.state).toBe("finished");
});

test("a job that is cancelled while its process is killed leaves nothing of its result", async () => {
  const { job, result } = await client.createJob(REQUEST);
  await expect
    .poll(async () => (await client.job(job)).inputBytes, { interval: 5 })
    .toBeGreaterThan(0);
  killEdge(folder);
  await client.removeJob(job).catch((error: unknown) => {
    // The first try may have been answered by nobody, though it was done.
    expect(error).toMatchObject({ code: "job_not_found" });
  });
  await expect(client.job(job)).rejects.toMatchObject({
    code: "job_not_found",
  });
  await expect(client.file(result)).rejects.toMatchObject({
    code: "file_not_found",
  });
});

test("jobs whose time comes go with their results, whatever is killed on the way", async () => {
  await client.putFile("small", new Blob([floatFile(0).head]));
  const keys = ["a", "b", "c", "d"];
  const begin = (clientKey: string) =>
    client.createJob({
      operation: "quantize",
      source: "small",
      clientKey,
      retentionMs: 1000,
    });
  const jobs = await Promise.all(keys.map(begin));
  const listed = async () => {
    const page = await client.jobs({ limit: 40 });
    return page.jobs.map(({ job }) => job).filter((job) => keys.includes(job));
  };
  for (let i = 0; i < 8; i++) {
    killEdge(folder);
    await listed();
  }
  await restart();
  await expect.poll(listed).toEqual([]);
  for (const { job, result } of jobs) {
    const isGone = (call: Promise<unknown>) =>
      call.then(
        () => "there",
        ({ code }: { code?: string }) => code,
      );
    expect(await isGone(client.job(job))).toBe("job_not_found");
    expect(await isGone(client.file(result))).toBe("file_not_found");
  }
  // Their keys are free.
  expect((await begin("a")).state).toBe("running");
});
