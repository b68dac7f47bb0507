/** Blobs that no dataset has: they go, and those that may yet get one stay. */
import {
  evictDurableObject,
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { afterEach, expect, test, vi } from "vitest";
import { withHeartbeat } from "../../src/http/files/heartbeat.ts";
import {
  Directory,
  directoryStub,
} from "../../src/objects/directory/directory.ts";
import { LEASE_MS } from "../../src/objects/directory/sweep-alarm.ts";
import type { ObjectBindings } from "../../src/objects/platform/bindings.ts";
import { bindings } from "../support/jobs.ts";
import { call, corpus } from "../support/run.ts";

const { BUCKET } = bindings;
const KEY = "datasets/text/1";
const ENTRY = {
  name: "text",
  digest: "0",
  tokens: 3,
  tokenizer: "byte",
  vocabulary: 256,
  state: "ready",
  bytes: 3,
  textDigest: "0",
  progress: 1,
  error: null,
  key: KEY,
  asked: 256,
} as const;

/** For what comes by itself. */

/** A new one each time: `reset` leaves a stub that is of no more use. */
const directory = () => directoryStub(bindings);

afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  await reset();
});

function stub() {
  return bindings.DIRECTORY.getByName("directory");
}

/** An upload whose Worker died behind the put. */
async function upload(): Promise<void> {
  await directory().beginUpload(KEY);
  await BUCKET.put(KEY, new Uint8Array(3));
}

/** As if `ms` had passed for what is loose. */
async function age(ms: number): Promise<void> {
  await runInDurableObject(stub(), (_directory, { storage }) => {
    storage.sql.exec("UPDATE loose_keys SET until_ms = until_ms - ?", ms);
    storage.sql.exec("UPDATE uploads SET until_ms = until_ms - ?", ms);
  });
}

/** And the alarm had come, after a crash. */
async function pass(ms: number): Promise<void> {
  await age(ms);
  await evictDurableObject(stub());
  await runDurableObjectAlarm(stub());
}

function looseKeys(): Promise<{ key: string; until_ms: number }[]> {
  return runInDurableObject(stub(), (_directory, { storage }) =>
    storage.sql
      .exec<{ key: string; until_ms: number }>(
        "SELECT key, until_ms FROM loose_keys",
      )
      .toArray(),
  );
}

async function keys(): Promise<string[]> {
  const { objects } = await BUCKET.list({ prefix: "datasets/" });
  return objects.map(({ key }) => key);
}

function alarm(): Promise<number | null> {
  return runInDurableObject(stub(), (_directory, { storage }) =>
    storage.getAlarm(),
  );
}

/** The directory with a bucket whose deletions fail. */
async function withoutBucket(
  body: (directory: Directory) => Promise<void>,
): Promise<void> {
  vi.spyOn(console, "warn").mockImplementation(() => {});
  const broken = new Proxy(BUCKET, {
    get: () => () => Promise.reject(new Error("no bucket")),
  });
  await runInDurableObject(stub(), (_directory, ctx) =>
    body(new Directory(ctx, { BUCKET: broken })),
  );
}

/** What callers call, of this very object. */
function methodsOf(object: Directory): ReturnType<typeof directory> {
  const stub = { fetch: (request: Request) => object.fetch(request) };
  const DIRECTORY = { idFromName: () => ({}), get: () => stub };
  return directoryStub({ DIRECTORY } as unknown as ObjectBindings);
}

test("an upload that dies before its record leaves nothing once its lease is over", async () => {
  await upload();
  const [{ until_ms } = { until_ms: 0 }] = await looseKeys();
  expect(await alarm()).toBe(until_ms);
  await pass(LEASE_MS / 2);
  expect(await keys()).toEqual([KEY]);
  await pass(LEASE_MS / 2);
  expect(await keys()).toEqual([]);
  expect(await looseKeys()).toEqual([]);
  expect(await alarm()).toBeNull();
});

test("an upload that is renewed is not swept, however long it takes", async () => {
  await upload();
  for (let i = 0; i < 4; i++) {
    await directory().renewUpload(KEY);
    await pass(LEASE_MS - 1000);
    expect(await keys()).toEqual([KEY]);
  }
  const { created } = await directory().addDataset(ENTRY);
  expect(created).toBe(true);
  // What has an owner is not loose.
  await pass(10 * LEASE_MS);
  expect(await keys()).toEqual([KEY]);
  expect(await looseKeys()).toEqual([]);
});

test("an upload that comes back after its sweep is refused, and its blob goes", async () => {
  await upload();
  await pass(LEASE_MS);
  await directory().renewUpload(KEY);
  await BUCKET.put(KEY, new Uint8Array(3));
  await expect(directory().addDataset(ENTRY)).rejects.toMatchObject({
    code: "unavailable",
  });
  expect(await keys()).toEqual([]);
  expect(await directory().findDataset("text")).toBeNull();
});

test("while it is being swept, a key cannot be renewed or get an owner", async () => {
  await upload();
  await age(LEASE_MS);
  await withoutBucket((broken) => broken.alarm());
  await directory().renewUpload(KEY);
  expect(await looseKeys()).toEqual([{ key: KEY, until_ms: 0 }]);
  await expect(directory().addDataset(ENTRY)).rejects.toMatchObject({
    code: "unavailable",
  });
  expect(await keys()).toEqual([]);
});

test("a sweep that the bucket did not allow comes again", async () => {
  await upload();
  await age(LEASE_MS);
  await withoutBucket((broken) => broken.alarm());
  expect(await keys()).toEqual([KEY]);
  await pass(0);
  expect(await keys()).toEqual([]);
  expect(await looseKeys()).toEqual([]);
});

test("a corpus whose removal dies behind its record goes by the alarm", async () => {
  const text = corpus(100);
  expect((await call("PUT", "/v1/datasets/text", text)).status).toBe(201);
  const [key] = await keys();
  await withoutBucket(async (broken) => {
    await methodsOf(broken).removeDataset("text");
  });
  expect(await directory().findDataset("text")).toBeNull();
  expect(await keys()).toEqual([key]);
  await pass(0);
  expect(await keys()).toEqual([]);
});

test("parts that nobody renews are taken back, those that go on are not", async () => {
  const begin = async () => {
    const upload = await BUCKET.createMultipartUpload("files/parts");
    const part = await upload.uploadPart(1, new Uint8Array(3));
    await directory().beginParts(upload.uploadId, upload.key);
    return { upload, part };
  };
  const [lost, alive, whole] = [await begin(), await begin(), await begin()];
  await whole.upload.complete([whole.part]);
  await directory().endParts(whole.upload.uploadId);
  await pass(LEASE_MS - 1000);
  await directory().renewParts(alive.upload.uploadId);
  await pass(2000);
  await expect(lost.upload.complete([lost.part])).rejects.toThrow();
  await alive.upload.complete([alive.part]);
  expect((await BUCKET.head("files/parts"))?.size).toBe(3);
  // It is whole, so there is nothing to take back; nobody asks again.
  await pass(LEASE_MS);
  expect(await alarm()).toBeNull();
  expect((await BUCKET.head("files/parts"))?.size).toBe(3);
});

test("signs of life come while an upload goes on, and end with it", async () => {
  vi.useFakeTimers();
  let beats = 0;
  let end = (): void => {};
  const whole = withHeartbeat(
    1000,
    () => {
      beats++;
      return Promise.reject(new Error("one that is lost"));
    },
    () => new Promise<string>((resolve) => (end = () => resolve("done"))),
  );
  vi.spyOn(console, "warn").mockImplementation(() => {});
  await vi.advanceTimersByTimeAsync(3500);
  expect(beats).toBe(3);
  end();
  expect(await whole).toBe("done");
  await vi.advanceTimersByTimeAsync(3500);
  expect(beats).toBe(3);
});

test("a stalled PUT of a corpus renews its key", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  const text = corpus(2000);
  let feed: ReadableByteStreamController;
  const source = {
    type: "bytes",
    start(controller: ReadableByteStreamController) {
      feed = controller;
      feed.enqueue(text.slice(0, 1000));
    },
  } as const;
  const body = new ReadableStream(source);
  const answer = call("PUT", "/v1/datasets/text", body, {
    "Content-Length": "2000",
  });
  await expect.poll(looseKeys).toHaveLength(1);
  await pass(LEASE_MS - 1000);
  const [before] = await looseKeys();
  await vi.advanceTimersByTimeAsync(LEASE_MS / 2);
  const renewedMs = async () =>
    (await looseKeys())[0]!.until_ms - before!.until_ms;
  await expect.poll(renewedMs).toBeGreaterThan(LEASE_MS / 2);
  feed!.enqueue(text.slice(1000));
  feed!.close();
  expect((await answer).status).toBe(201);
  expect(await looseKeys()).toEqual([]);
});
