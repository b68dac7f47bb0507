/** Jobs that wait for what others hold, or for storage that does not answer: each wait is told, and ends. */
import {
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { AppError } from "../../src/api/errors.ts";
import { isolateMemory } from "../../src/memory/ledger.ts";
import { endTurn, takeTurn } from "../../src/objects/job/job-turns.ts";
import { PartWriter } from "../../src/objects/job/part-writer.ts";
import { readPinned } from "../../src/objects/job/pinned-file.ts";
import { f32, fileOf } from "../http/tensor-support.ts";
import { clientOf } from "../support/run.ts";
import {
  bindings,
  createJob,
  finish,
  names,
  putFile,
  statusOf,
} from "../support/jobs.ts";

const holder = {};

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"] });
});
afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  endTurn(holder);
  await reset();
});

async function begin(): Promise<void> {
  await putFile("source", fileOf([f32("x", [64], new Float32Array(64))]));
  const request = {
    operation: "quantize",
    source: "source",
    result: "result",
    clientKey: "job",
  } as const;
  expect((await createJob(request)).status).toBe(201);
}

/** Its next alarm, whenever it is set for. */
async function step(): Promise<void> {
  await runDurableObjectAlarm(bindings.JOB.getByName("job"));
}

/** Lines of its log behind the first, which tells that it has begun. */
async function lines(): Promise<string[]> {
  return (await statusOf("job")).log.slice(1).map(({ text }) => text);
}

function crowd() {
  return vi
    .spyOn(isolateMemory, "reserve")
    .mockRejectedValue(new AppError("unavailable", "no memory"));
}

test("a job that another keeps from its turn tells so once it is long, and ends once it gets it", async () => {
  takeTurn(holder);
  await begin();
  await step();
  expect(await lines()).toEqual([]);
  for (let s = 0; s < 40; s += 5) {
    vi.setSystemTime(Date.now() + 5_000);
    expect(takeTurn(holder)).toBe(true);
    await step();
  }
  expect(await lines()).toEqual([
    "waiting for the turn of another job for 30 s",
  ]);
  expect((await statusOf("job")).state).toBe("running");
  // It is gone: its turn ends by itself.
  vi.setSystemTime(Date.now() + 10_001);
  expect((await finish("job")).state).toBe("finished");
  expect(await lines()).toEqual([
    "waiting for the turn of another job for 30 s",
    expect.stringMatching(/^got the turn of another job after 5[01] s$/),
    "finished",
  ]);
});

test.each(["is free again", "stays held"])(
  "a job without memory tells so once it is long; where it %s, it ends",
  async (then) => {
    const reserve = crowd();
    await begin();
    await step();
    expect(await lines()).toEqual([]);
    vi.setSystemTime(Date.now() + 31_000);
    await step();
    await step();
    expect(await lines()).toEqual(["waiting for memory for 31 s"]);
    expect(await statusOf("job")).toMatchObject({
      state: "running",
      error: null,
    });
    if (then === "is free again") {
      reserve.mockRestore();
      expect((await finish("job")).state).toBe("finished");
      expect((await lines()).slice(1)).toEqual([
        expect.stringMatching(/^got memory after 3\d s$/),
        "finished",
      ]);
    } else {
      vi.setSystemTime(Date.now() + 10 * 60_000);
      const detail =
        "Expected memory within 600 s, got none: others hold it; begin again";
      expect(await finish("job")).toMatchObject({
        state: "failed",
        error: { code: "unavailable", detail },
      });
      expect((await lines()).slice(1)).toEqual([`failed: ${detail}`]);
      expect(await names()).toEqual(["source"]);
    }
  },
);

test("a short wait for memory is not told, and does not count for the next", async () => {
  const reserve = crowd();
  await begin();
  await step();
  vi.setSystemTime(Date.now() + 29_000);
  await step();
  reserve.mockRestore();
  expect((await finish("job")).state).toBe("finished");
  expect(await lines()).toEqual(["finished"]);
});

test("a text without memory to become tokens is told of, and fails", async () => {
  const warn = vi.spyOn(console, "warn").mockReturnValue();
  crowd();
  const client = clientOf();
  await client.putDataset(
    "text",
    Uint8Array.from(Buffer.from("a whale ".repeat(500))),
    { tokenizer: "bpe", vocabulary: 512 },
  );
  const key = await runInDurableObject(
    bindings.DIRECTORY.getByName("directory"),
    (_object, { storage }) =>
      storage.sql
        .exec<{ key: string }>(
          "SELECT json_extract(dataset, '$.key') AS key FROM datasets",
        )
        .one().key,
  );
  const stub = bindings.TOKENIZATION.getByName(key);
  const next = () => runDurableObjectAlarm(stub);
  const isTold = () =>
    warn.mock.calls.some(([line]) =>
      /^Tokenization of "text": waiting for memory for 3\d s$/.test(
        String(line),
      ),
    );
  await vi.waitUntil(next, 10_000);
  expect(isTold()).toBe(false);
  vi.setSystemTime(Date.now() + 31_000);
  await vi.waitUntil(async () => (await next()) && isTold(), 10_000);
  vi.setSystemTime(Date.now() + 10 * 60_000);
  await vi.waitUntil(
    async () => (
      await next(),
      (await client.dataset("text")).state === "failed"
    ),
  );
  expect((await client.dataset("text")).error).toMatchObject({
    code: "unavailable",
    detail: expect.stringMatching("Expected memory within 600 s") as string,
  });
});

test.each(["a read", "its bytes", "a part"])(
  "storage that never answers, of %s, is an error within a minute",
  async (what) => {
    vi.useFakeTimers();
    const never = new Promise<never>(() => {});
    const stalled =
      what === "a read"
        ? never
        : Promise.resolve({
            body: new ReadableStream({ type: "bytes", pull: () => never }),
          });
    const bucket = { get: () => stalled } as unknown as R2Bucket;
    const upload = { uploadPart: () => never } as unknown as R2MultipartUpload;
    const work =
      what === "a part"
        ? new PartWriter(upload, [], new Uint8Array(3)).flush()
        : readPinned(bucket, { key: "a", etag: "b", bytes: 9 }, 0, 9);
    const refused = expect(work).rejects.toThrow(
      what === "a part"
        ? "Expected part 1 to be stored within 60 s, got nothing"
        : "Expected 9 bytes of a stored file within 60 s, got nothing",
    );
    await vi.advanceTimersByTimeAsync(60_001);
    await refused;
  },
);
