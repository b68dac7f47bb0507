import { reset, runInDurableObject } from "cloudflare:test";
import { expect, test } from "vitest";
import type { JobPage, JobRequest } from "../../src/api/tensors.ts";
import { Job } from "../../src/objects/job/job.ts";
import {
  bindings,
  createJob,
  finish,
  names,
  putFile,
  statusOf,
} from "../support/jobs.ts";
import { normals } from "../support/random.ts";
import { bytesOf, problemOf, send } from "./support.ts";
import { f32, fileInOrder, fileOf } from "./tensor-support.ts";

const { BUCKET } = bindings;
const DAY_MS = 24 * 60 * 60_000;

/** 24 MiB in two tensors, so that a job takes several alarms. */
function checkpoint(): Uint8Array<ArrayBuffer> {
  const rows = 3 * 1024;
  const tensor = (name: string, seed: number) => ({
    name,
    dtype: "F32" as const,
    shape: [rows, 1024],
    bytes: new Uint8Array(normals(rows * 1024, seed).buffer),
  });
  return fileInOrder([tensor("a", 1), tensor("b", 2)]);
}

function post(path: string, body: Uint8Array<ArrayBuffer>): Promise<Response> {
  const headers = { "Content-Length": String(body.length) };
  return send(path, { method: "POST", body, headers });
}

async function file(name: string): Promise<Uint8Array<ArrayBuffer>> {
  return read(await send(`/v1/files/${name}`));
}

async function read(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  return (await bytesOf(response)).slice();
}

/** Where two files differ first; a failed `toEqual` of megabytes would take gigabytes to print. */
function difference(a: Uint8Array, b: Uint8Array): number | undefined {
  if (a.length !== b.length) return Math.min(a.length, b.length);
  const at = a.findIndex((byte, i) => byte !== b[i]);
  return at < 0 ? undefined : at;
}

test("jobs end in the bytes of the routes, over several alarms", async () => {
  const source = checkpoint();
  await putFile("source", source);
  const query = "rounding=stochastic&hadamard=64&seed=5&exclude=b&min-scale=1";
  const expected = await read(await post(`/v1/quantize?${query}`, source));
  const created = await createJob({
    operation: "quantize",
    source: "source",
    result: "packed",
    clientKey: "forward",
    options: {
      rounding: "stochastic",
      hadamard: 64,
      seed: 5,
      exclude: ["b"],
      minScale: 1,
    },
  });
  expect(created.status).toBe(201);
  const status = await finish("forward");
  expect(status).toMatchObject({
    state: "finished",
    error: null,
    inputBytes: source.length,
    totalInputBytes: source.length,
    outputBytes: expected.length,
    totalOutputBytes: expected.length,
  });
  expect(difference(await file("packed"), expected)).toBeUndefined();

  await createJob({
    operation: "dequantize",
    source: "packed",
    result: "decoded",
    clientKey: "back",
    options: { dtype: "bf16" },
  });
  expect((await finish("back")).state).toBe("finished");
  const decoded = await bytesOf(
    await post("/v1/dequantize?dtype=bf16", expected),
  );
  expect(difference(await file("decoded"), decoded)).toBeUndefined();

  for (const to of ["ggml", "compressed-tensors"] as const) {
    await createJob({
      operation: "repack",
      source: "packed",
      result: `repacked-${to}`,
      clientKey: `to-${to}`,
      options: { to },
    });
    expect((await finish(`to-${to}`)).state).toBe("finished");
    const repacked = await bytesOf(await post(`/v1/repack?to=${to}`, expected));
    expect(difference(await file(`repacked-${to}`), repacked)).toBeUndefined();
  }

  await createJob({
    operation: "hadamard",
    source: "source",
    clientKey: "turn",
    options: { hadamard: 32, seed: 1 },
  });
  expect((await finish("turn")).result).toBe("turn.safetensors");
  const turned = await bytesOf(
    await post("/v1/hadamard?hadamard=32&seed=1", source),
  );
  expect(difference(await file("turn.safetensors"), turned)).toBeUndefined();
});

test("jobs of one isolate take turns, and all of them end", async () => {
  await putFile("shared", checkpoint());
  const keys = ["one", "two", "three"];
  for (const clientKey of keys) {
    await createJob({ operation: "hadamard", source: "shared", clientKey });
  }
  const ends = await Promise.all(keys.map(finish));
  expect(ends.map(({ state }) => state)).toEqual(keys.map(() => "finished"));
  const [first, ...others] = await Promise.all(
    ends.map(({ result }) => file(result)),
  );
  for (const other of others) expect(difference(other, first!)).toBeUndefined();
});

test("elements before their scales need no more memory than the scales", async () => {
  // 36 MiB of elements, which the route may not hold.
  const blocks = 36 * 65536;
  const pair = fileInOrder([
    {
      name: "x_blocks",
      dtype: "U8",
      shape: [blocks, 16],
      bytes: new Uint8Array(blocks * 16).map((_, i) => (i * 7) & 0x77),
    },
    {
      name: "x_scales",
      dtype: "U8",
      shape: [blocks],
      bytes: new Uint8Array(blocks).map((_, i) => 120 + (i % 9)),
    },
  ]);
  const refused = await post("/v1/dequantize", pair);
  const { detail } = await problemOf(refused, 413, "body_too_large");
  expect(detail).toContain("/v1/jobs");
  await putFile("pair", pair);
  await createJob({
    operation: "dequantize",
    source: "pair",
    clientKey: "pair",
    options: { dtype: "f16" },
  });
  expect(await finish("pair")).toMatchObject({ state: "finished" });
  const half = await file("pair.safetensors");
  expect(half.length).toBeGreaterThan(blocks * 64);
  // The last element: low nibble first, E2M1 times 2^(scale − 127).
  const last = new Float16Array(half.slice(-64).buffer);
  const code = ((blocks * 16 - 1) * 7) & 0x77;
  const values = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const scale = 2 ** (120 + ((blocks - 1) % 9) - 127);
  expect(last[31]).toBe(values[code >> 4]! * scale);
  expect(last[30]).toBe(values[code & 7]! * scale);
}, 60_000);

test("a repeated request is the same job; another with its key is refused", async () => {
  await putFile("small", fileInOrder([f32("x", [32], Array(32).fill(1))]));
  const request: JobRequest = {
    operation: "quantize",
    source: "small",
    clientKey: "once",
  };
  expect((await createJob(request)).status).toBe(201);
  const again = await createJob(request);
  expect(again.status).toBe(200);
  expect(await again.json()).toMatchObject({ job: "once" });
  await finish("once");
  // Also when it is over, and its result and no source are there.
  await send("/v1/files/small", { method: "DELETE" });
  const after = await createJob(request);
  expect(after.status).toBe(200);
  expect(await after.json()).toMatchObject({ state: "finished" });
  const other = await createJob({ ...request, options: { seed: 1 } });
  await problemOf(other, 409, "job_differs");
});

test("options that no file could have begin no job", async () => {
  await putFile("small", fileInOrder([f32("x", [32], Array(32).fill(1))]));
  const cases: [JobRequest, string][] = [
    [
      {
        operation: "quantize",
        source: "small",
        options: { rounding: "stochastic", scale: "mse" },
      },
      "Expected another scale rule, such as scale=rceil, for rounding=stochastic",
    ],
    [
      {
        operation: "quantize",
        source: "small",
        options: { format: "mxfp8-e4m3", prescale: 0.75 },
      },
      "Expected prescale=1 for mxfp8-e4m3",
    ],
    [
      { operation: "analyze", source: "small", options: { compare: ["nope"] } },
      "Expected `compare` to have `all`",
    ],
    [
      {
        operation: "analyze",
        source: "small",
        options: { compare: ["rounding=stochastic;scale=mse"] },
      },
      "Expected another scale rule, such as scale=rceil, for rounding=stochastic",
    ],
    [
      { operation: "repack", source: "small", options: {} },
      "Expected `to` to be one of",
    ],
    [{ operation: "repack", source: "small" }, "Expected `to` to be one of"],
  ];
  for (const [request, message] of cases) {
    const refused = await createJob({ ...request, clientKey: "none" });
    const { detail } = await problemOf(refused, 422, "invalid_option");
    expect(detail).toContain(message);
    const asked = await send("/v1/jobs/none");
    await problemOf(asked, 404, "job_not_found");
  }
});

test("a job has no key that no path can have", async () => {
  await putFile("small", fileInOrder([f32("x", [32], Array(32).fill(1))]));
  for (const clientKey of [".", ".."]) {
    const refused = await createJob({
      operation: "quantize",
      source: "small",
      clientKey,
    });
    const { detail } = await problemOf(refused, 422, "invalid_option");
    expect(detail).toContain(`except . and .., got "${clientKey}"`);
  }
  const dotted: JobRequest = {
    operation: "quantize",
    source: "small",
    clientKey: "...",
  };
  expect((await createJob(dotted)).status).toBe(201);
  await finish("...");
});

test("a cancelled job leaves nothing, and its key is free again", async () => {
  const before = await names();
  await putFile("cancelled-source", checkpoint());
  const request: JobRequest = {
    operation: "hadamard",
    source: "cancelled-source",
    result: "never",
    clientKey: "cancelled",
  };
  await createJob(request);
  expect((await statusOf("cancelled")).state).toBe("running");
  const gone = await send("/v1/jobs/cancelled", { method: "DELETE" });
  expect(gone.status).toBe(204);
  const none = await problemOf(
    await send("/v1/jobs/cancelled"),
    404,
    "job_not_found",
  );
  expect(none.detail).toBe('Expected the id of a job, got "cancelled"');
  expect((await names()).toSorted()).toEqual(
    [...before, "cancelled-source"].toSorted(),
  );
  expect((await createJob(request)).status).toBe(201);
  expect((await finish("cancelled")).state).toBe("finished");
  await send("/v1/jobs/cancelled", { method: "DELETE" });
  expect(await names()).toContain("never");
});

test.each([
  ["not a file of tensors", new Uint8Array(64).fill(255), "malformed_body"],
  ["a tensor that cannot be", wrongShape(), "malformed_body"],
])("%s fails the job, and leaves nothing", async (what, bytes, code) => {
  await putFile("broken", bytes);
  const before = await names();
  const clientKey = what.replaceAll(" ", "-");
  await createJob({ operation: "quantize", source: "broken", clientKey });
  const status = await finish(clientKey);
  expect(status).toMatchObject({ state: "failed", error: { code } });
  expect(status.error!.detail).toMatch(/^Expected /);
  expect(status.log.at(-1)!.text).toContain("failed: Expected");
  expect(await names()).toEqual(before);
});

function wrongShape(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(128);
  const file = fileInOrder([{ name: "x", dtype: "F32", shape: [32], bytes }]);
  return file.slice(0, -4);
}

test("a source that changes under a job fails it", async () => {
  await putFile("changing", fileInOrder([]));
  const before = await BUCKET.head("files/changing");
  await putFile("changing", fileOf([f32("x", [1], [1])]));
  // It pins and goes on by an alarm of its own; what changes between the two, it saw before.
  const stale = new Proxy(BUCKET, {
    get: (bucket, name: keyof R2Bucket) =>
      name === "head"
        ? (key: string) =>
            key === "files/changing" ? before : bucket.head(key)
        : (bucket[name] as () => unknown).bind(bucket),
  });
  await runInDurableObject(bindings.JOB.getByName("changing"), (_job, ctx) =>
    new Job(ctx, { ...bindings, BUCKET: stale }).begin("changing", {
      operation: "quantize",
      source: "changing",
      result: "changed",
    }),
  );
  const status = await finish("changing");
  expect(status.error).toMatchObject({ code: "file_changed" });
  expect(await names()).not.toContain("changed");
});

test("a folder of which a file changes under a job fails it, and its first files go", async () => {
  const weight = (name: string, seed: number) => ({
    name,
    dtype: "F32" as const,
    shape: [64, 64],
    bytes: new Uint8Array(normals(4096, seed).buffer),
  });
  await putFile(
    "model/model.safetensors",
    fileInOrder([weight("a.q_proj.weight", 1), weight("a.k_proj.weight", 2)]),
  );
  const text = (content: string) =>
    Uint8Array.from(new TextEncoder().encode(content));
  await putFile("model/config.json", text("{}"));
  await putFile("model/tokenizer.json", text("{}"));
  const before = await BUCKET.list({ prefix: "files/model/" });
  // It comes behind the weights.
  await putFile("model/tokenizer.json", text("[]"));
  const stale = new Proxy(BUCKET, {
    get: (bucket, name: keyof R2Bucket) =>
      name === "list"
        ? (options: R2ListOptions) =>
            options.prefix === "files/model/" ? before : bucket.list(options)
        : (bucket[name] as () => unknown).bind(bucket),
  });
  await runInDurableObject(bindings.JOB.getByName("half"), (_job, ctx) =>
    new Job(ctx, { ...bindings, BUCKET: stale }).begin("half", {
      operation: "quantize",
      source: "model",
      result: "half",
      options: { for: "vllm" },
    }),
  );
  const { error, outputBytes } = await finish("half");
  expect(error).toMatchObject({ code: "file_changed" });
  expect(outputBytes).toBeGreaterThan(4096);
  await expect
    .poll(async () =>
      (await names()).filter((name) => name.startsWith("half/")),
    )
    .toEqual([]);
});

test("what a job needs is refused before it begins", async () => {
  const missing = createJob({ operation: "quantize", source: "none" });
  await problemOf(await missing, 404, "file_not_found");
  await putFile("taken", fileInOrder([]));
  const taken = createJob({
    operation: "quantize",
    source: "taken",
    result: "taken",
  });
  await problemOf(await taken, 409, "file_exists");
  for (const body of [
    { operation: "quantize" },
    { operation: "multiply", source: "taken" },
    { operation: "quantize", source: "../datasets/x" },
    { operation: "quantize", source: "taken", options: { rounding: "up" } },
    { operation: "dequantize", source: "taken", options: { seed: 1 } },
    { operation: "quantize", source: "taken", retentionMs: 999 },
    { operation: "quantize", source: "taken", retentionMs: 90 * DAY_MS + 1 },
  ]) {
    const response = await createJob(body as JobRequest);
    await problemOf(response, 422, "invalid_option");
  }
  for (const method of ["GET", "DELETE"]) {
    const response = await send("/v1/jobs/nothing", { method });
    await problemOf(response, 404, "job_not_found");
  }
});

test("lists have the newest first, in pages that others' comings and goings do not shift", async () => {
  await reset();
  const first = await send("/v1/jobs");
  expect(await first.json()).toEqual({ jobs: [], next: null });
  await putFile("listed", fileOf([f32("x", [64], new Float32Array(64))]));
  const keys = ["a", "b", "c", "d", "e"];
  for (const clientKey of keys) {
    await createJob({ operation: "quantize", source: "listed", clientKey });
    await finish(clientKey);
    // So that no two have the same time.
    await scheduler.wait(2);
  }
  const page = async (query: string) =>
    (await send(`/v1/jobs?${query}`)).json<JobPage>();
  const newest = await page("limit=2");
  const { log: _log, leftOut, missing, ...e } = await statusOf("e");
  expect({ leftOut, missing }).toEqual({ leftOut: [], missing: [] });
  expect(newest.jobs[0]).toEqual(e);
  expect(e).toMatchObject({ state: "finished", result: "e.safetensors" });
  expect(newest.jobs.map(({ job }) => job)).toEqual(["e", "d"]);
  await send("/v1/jobs/d", { method: "DELETE" });
  await send("/v1/jobs/b", { method: "DELETE" });
  await createJob({ operation: "quantize", source: "listed", clientKey: "f" });
  const older = await page(`limit=2&cursor=${newest.next}`);
  expect(older.jobs.map(({ job }) => job)).toEqual(["c", "a"]);
  expect(older.next).toBeNull();
  const all = await page("");
  expect(all.jobs.map(({ job }) => job)).toEqual(["f", "e", "c", "a"]);
  for (const query of ["limit=0", "limit=41", "limit=x", "cursor=c", "page=2"])
    await problemOf(await send(`/v1/jobs?${query}`), 422, "invalid_option");
});

test("a key may look like a digest", async () => {
  await putFile("digested", fileOf([f32("x", [32], Array(32).fill(1))]));
  const clientKey = "0123456789abcdef".repeat(4);
  const request = { source: "digested", result: "digest", clientKey };
  await createJob({ operation: "quantize", ...request });
  expect((await finish(clientKey)).state).toBe("finished");
});

test("files come back whole or in part, and go", async () => {
  const bytes = new Uint8Array(1000).map((_, i) => i);
  await putFile("numbers", bytes);
  expect(await file("numbers")).toEqual(bytes);
  const headers = { Range: "bytes=10-19" };
  const part = await send("/v1/files/numbers", { headers });
  expect(part.status).toBe(206);
  expect(part.headers.get("Content-Range")).toBe("bytes 10-19/1000");
  expect(new Uint8Array(await part.arrayBuffer())).toEqual(bytes.slice(10, 20));
  const outside = await send("/v1/files/numbers", {
    headers: { Range: "bytes=1000-" },
  });
  await problemOf(outside, 416, "range_not_satisfiable");
  const gone = await send("/v1/files/numbers", { method: "DELETE" });
  expect(gone.status).toBe(204);
  for (const method of ["GET", "DELETE"]) {
    const response = await send("/v1/files/numbers", { method });
    await problemOf(response, 404, "file_not_found");
  }
  const name = await send("/v1/files/a%2F..%2Fc", {
    method: "PUT",
    body: bytes,
  });
  await problemOf(name, 422, "invalid_name");
});

test("an upload that ends early leaves the file that was there", async () => {
  await putFile("kept", new Uint8Array([1, 2, 3]));
  const short = await send("/v1/files/kept", {
    method: "PUT",
    body: new Uint8Array(5),
    headers: { "Content-Length": "10" },
  });
  await problemOf(short, 400, "malformed_body");
  expect(await file("kept")).toEqual(new Uint8Array([1, 2, 3]));
});
