/** State that another release left: it is brought up to date, or refused clearly, and never misread. */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunEvent, StepMetrics } from "../../src/api/run-metrics.ts";
import { Client } from "../../src/client/client.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { eachDatabase, JOB, layOut } from "../support/old-state.ts";

let folder: string;
let edge: Running;
let client: Client;
let files: Mxfp4Edge;

async function start(): Promise<void> {
  edge = await startEdge({ stateFolder: folder, quiet: true });
  client = new Client({ baseUrl: edge.url });
  files = new Mxfp4Edge({ baseUrl: edge.url });
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-state-versions-"));
  layOut(folder);
  await start();
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function get(path: string, init?: RequestInit) {
  const response = await fetch(edge.url + path, init);
  const text = await response.text();
  return {
    status: response.status,
    text,
    code: /"code":"(\w+)"/.exec(text)?.[1],
  };
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  const { body } = await fetch(`${edge.url}/v1/files/${file}`);
  for await (const chunk of body!) hash.update(chunk);
  return hash.digest("hex");
}

test("datasets and files are as they were, and others come beside them", async () => {
  const { status, text } = await get("/v1/datasets/corpus/tokens");
  expect([status, text]).toEqual([
    200,
    "It was the best of times, it was the worst of times. ".repeat(40),
  ]);
  const { tokens, digest, ...corpus } = await client.dataset("corpus");
  expect(corpus).toEqual({
    name: "corpus",
    tokenizer: "byte",
    vocabulary: 256,
    state: "ready",
    bytes: tokens,
    textDigest: digest,
    progress: 1,
    error: null,
  });
  const source = await fetch(`${edge.url}/v1/files/source`);
  expect((await source.arrayBuffer()).byteLength).toBe(100_663_456);
  await client.putDataset("another", new Blob(["Call me Ishmael. "]));
  expect((await get("/v1/datasets/another")).status).toBe(200);
});

test("a job that was under way goes on, to the bytes of one that begins now", async () => {
  expect(await files.finishedJob(JOB)).toMatchObject({
    state: "finished",
    result: "half",
    error: null,
  });
  const { job } = await files.createJob({
    operation: "quantize",
    source: "source",
    result: "again",
    options: { scale: "even", minScale: 1 },
  });
  expect(await files.finishedJob(job)).toMatchObject({ state: "finished" });
  expect(await digestOf("half")).toBe(await digestOf("again"));
});

test("a run that was under way has ended, and says why nobody goes on with it", async () => {
  const run = "/v1/runs/going";
  const json = { "Content-Type": "application/json" };
  const lease = { trainer: "one", bootId: "boot", fingerprint: "new" };
  const refused = [
    await get(run),
    await get(`${run}/leases`, {
      method: "POST",
      headers: json,
      body: JSON.stringify(lease),
    }),
    await get(run, {
      method: "PATCH",
      headers: json,
      body: JSON.stringify({ state: "running" }),
    }),
    await get(`${run}/checkpoint`),
    await get(`${run}/shards/0/parameters?step=1`),
  ];
  for (const { status, code, text } of refused) {
    expect([status, code]).toEqual([409, "state_version"]);
    expect(text).toContain(
      "Expected a run that this release of mxfp4-edge can continue, got one of an earlier release",
    );
  }
});

test("it is in the list, without a name, which runs of its release did not have", async () => {
  expect(await client.runs()).toEqual([
    expect.objectContaining({ run: "going", name: null }),
  ]);
});

test("its history stays, and ends in an event", async () => {
  const steps = (await get("/v1/runs/going/metrics")).text.trim().split("\n");
  expect(steps.length).toBeGreaterThan(1);
  const first = JSON.parse(steps[0]!) as StepMetrics;
  expect(first).toMatchObject({ step: 0, tokens: 64 });
  expect(first.trainLoss).toBeGreaterThan(1);
  expect(first.trainNatsPerByte).toBe(first.trainLoss);
  expect(first.valNatsPerByte).toBe(first.valLoss);
  const events: RunEvent[] = [];
  for await (const event of client.run("going").events()) events.push(event);
  expect(events[0]).toMatchObject({ type: "state", state: "running" });
  expect(events.at(-1)).toMatchObject({ type: "state", state: "cancelled" });
});

test("it does not fail over and over, and removed it makes room for another", async () => {
  const errors = readFileSync(join(folder, "edge.log"), "utf8");
  expect(errors.match(/earlier release/g)?.length ?? 0).toBeLessThan(10);
  const model = { layers: 1, width: 64, heads: 2, context: 64 };
  const present = { dataset: "corpus", run: "going", model };
  await expect(client.createRun(present)).rejects.toThrow("earlier release");
  await client.run("going").remove();
  const { state, step } = await client.createRun(present);
  expect([state, step]).toEqual(["running", 0]);
  await client.run("going").setState("cancelled");
  await client.run("going").remove();
  await client.removeDataset("corpus");
});

test("state of a later release is refused until that one is back", async () => {
  const text = "It was the best of times, it was the worst of times. ";
  await client.putDataset("long", new Blob([text.repeat(200)]));
  await client.createRun({ dataset: "long", run: "later", subtree: 2 });
  const versions = new Map<string, number>();
  const classes = ["Directory", "Run", "ParameterShard", "Subtree", "Job"];
  const setVersions = async (
    versionOf: (name: string, now: number) => number,
  ) => {
    await edge.close();
    for (const name of classes) {
      eachDatabase(folder, name, (database) => {
        const table = "SELECT 1 FROM sqlite_master WHERE name = 'schema'";
        if (!database.prepare(table).get()) return;
        const { version } = database
          .prepare("SELECT version FROM schema")
          .get() as { version: number };
        database.exec(
          `UPDATE schema SET version = ${versionOf(name, version)}`,
        );
      });
    }
    await start();
  };
  await setVersions((name, version) => {
    versions.set(name, version);
    return 99;
  });
  expect([...versions.keys()]).toEqual(classes);
  const paths = [
    "/v1/datasets/long",
    "/v1/runs",
    "/v1/runs/later",
    "/v1/runs/later/events",
    "/v1/runs/later/shards/0/parameters?step=0",
    `/v1/jobs/${JOB}`,
  ];
  const { paths: declared } = JSON.parse((await get("/openapi.json")).text) as {
    paths: Record<string, Record<string, { responses: object }>>;
  };
  for (const path of paths) {
    const { status, code, text } = await get(path);
    const template = Object.keys(declared).find((each) =>
      new RegExp(`^${each.replace(/\{\w+\}/g, "[^/]+")}$`).test(
        path.split("?")[0]!,
      ),
    )!;
    const { responses } = declared[template]!.get!;
    expect(JSON.stringify(responses)).toContain('"state_version"');
    expect([path, status, code]).toEqual([path, 409, "state_version"]);
    expect(text).toContain("which a later release of mxfp4-edge wrote");
  }
  await setVersions((name) => versions.get(name)!);
  for (const path of paths.filter((path) => !path.endsWith("events")))
    expect([path, (await get(path)).status]).toEqual([path, 200]);
});
