/** How jobs go: after their time or when told, all of them, whatever fails or dies on the way. */
import {
  evictDurableObject,
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { JobPage, JobRequest, JobStatus } from "../../src/api/tensors.ts";
import { fileDigests } from "../../src/objects/job/digest.ts";
import { JOB_SCHEMA } from "../../src/objects/job/job-schema.ts";
import { Job } from "../../src/objects/job/job.ts";
import { problemOf, send } from "../http/support.ts";
import { f32, fileOf, u8 } from "../http/tensor-support.ts";
import {
  bindings,
  createJob,
  finish,
  names,
  putFile,
  statusOf,
} from "../support/jobs.ts";

const { BUCKET } = bindings;
/** For an alarm that comes at this moment by itself. */
const DAY_MS = 24 * 60 * 60_000;
const REQUEST = {
  operation: "quantize",
  source: "source",
  result: "result",
  clientKey: "job",
} as const satisfies JobRequest;

afterEach(async () => {
  vi.restoreAllMocks();
  await reset();
});
beforeEach(() =>
  putFile("source", fileOf([f32("x", [64], new Float32Array(64))])),
);

function stub() {
  return bindings.JOB.getByName("job");
}

/** Write into what the job keeps of itself. */
async function set(path: string, value: string | number | null): Promise<void> {
  await runInDurableObject(stub(), (_job, { storage }) => {
    storage.sql.exec(
      "UPDATE job SET job = json_set(job, ?, ?)",
      `$.${path}`,
      value,
    );
  });
}

async function finished(changes: Partial<JobRequest> = {}): Promise<JobStatus> {
  const response = await createJob({ ...REQUEST, ...changes } as JobRequest);
  expect(response.status, await response.text()).toBe(201);
  const status = await finish("job");
  await settled(status.expiresMs!);
  return status;
}

/** The job has nothing left to do before that time, so that no alarm of its own comes in between. */
async function settled(expiresMs: number): Promise<void> {
  const alarm = () =>
    runInDurableObject(stub(), (_job, { storage }) => storage.getAlarm());
  await expect.poll(alarm).toBe(expiresMs);
}

/** Let the job's time come. */
async function expire(): Promise<void> {
  await set("expiresMs", 1);
  await runDurableObjectAlarm(stub());
}

/** Give the job an upload that it has not taken back, with a part. */
async function leaveUpload(): Promise<R2MultipartUpload> {
  const upload = await BUCKET.createMultipartUpload("files/result");
  await upload.uploadPart(1, new Uint8Array(16));
  await set("uploadId", upload.uploadId);
  return upload;
}

async function expectTakenBack(upload: R2MultipartUpload): Promise<void> {
  await expect(upload.uploadPart(2, new Uint8Array(16))).rejects.toThrow(
    "10024",
  );
}

/** No record, no entry, no alarm, no row; of files, only `left`. */
async function expectGone(left: string[]): Promise<void> {
  const tables = () =>
    runInDurableObject(stub(), (_job, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master").toArray(),
    );
  await expect.poll(tables).toEqual([]);
  await problemOf(await send("/v1/jobs/job"), 404, "job_not_found");
  const page = await (await send("/v1/jobs")).json<JobPage>();
  expect(page).toEqual({ jobs: [], next: null });
  const entries = await runInDurableObject(
    bindings.DIRECTORY.getByName("directory"),
    (_directory, { storage }) =>
      storage.sql.exec("SELECT * FROM jobs").toArray(),
  );
  expect(entries).toEqual([]);
  const alarm = await runInDurableObject(stub(), (_job, { storage }) =>
    storage.getAlarm(),
  );
  expect(alarm).toBeNull();
  expect(await names()).toEqual(left);
}

test("a job tells when it goes once it has ended, and its alarm is set for then", async () => {
  const created = await createJob({ ...REQUEST, retentionMs: 3 * DAY_MS });
  expect((await created.json<JobStatus>()).expiresMs).toBeNull();
  const { endedMs, expiresMs } = await finish("job");
  expect(expiresMs! - endedMs!).toBe(3 * DAY_MS);
  await settled(expiresMs!);
  // An alarm before that time takes nothing away.
  await runDurableObjectAlarm(stub());
  expect((await statusOf("job")).state).toBe("finished");
  expect(await names()).toContain("result");
});

test("seven days, unless told; the same for one that fails", async () => {
  await putFile("source", new Uint8Array(64).fill(255));
  const { state, endedMs, expiresMs } = await finished();
  expect(state).toBe("failed");
  expect(expiresMs! - endedMs!).toBe(7 * DAY_MS);
});

test("after its time a job goes, its result with it, and its key is free again", async () => {
  await finished();
  await expire();
  await expectGone(["source"]);
  expect((await finished()).state).toBe("finished");
});

test("a file that was put in the result's place stays", async () => {
  await finished();
  await putFile("result", new Uint8Array(3));
  await expire();
  await expectGone(["result", "source"]);
});

test("a result that is told to stay stays, though the time comes before it could be done", async () => {
  await finished();
  await runInDurableObject(stub(), (_job, { storage }) => {
    storage.sql.exec("UPDATE job SET removal = 'job'");
  });
  await set("expiresMs", 1);
  await problemOf(await send("/v1/jobs/job"), 404, "job_not_found");
  await runDurableObjectAlarm(stub());
  await expectGone(["result", "source"]);
});

test("a cancelled job leaves no result, also if a crash came before it told of it", async () => {
  await finished();
  await set("state", "running");
  const upload = await leaveUpload();
  const response = await send("/v1/jobs/job", { method: "DELETE" });
  expect(response.status).toBe(204);
  await expectTakenBack(upload);
  await expectGone(["source"]);
});

test("the upload of a job that failed is taken back by the next alarm", async () => {
  await putFile("source", new Uint8Array(64).fill(255));
  await finished();
  const upload = await leaveUpload();
  await runDurableObjectAlarm(stub());
  await expectTakenBack(upload);
  expect((await statusOf("job")).state).toBe("failed");
});

test("a job that a crash kept out of the lists is entered by its next alarm", async () => {
  await finished();
  await runInDurableObject(
    bindings.DIRECTORY.getByName("directory"),
    (_directory, { storage }) => {
      storage.sql.exec("DELETE FROM jobs");
    },
  );
  await set("isListed", 0);
  await evictDurableObject(stub());
  await runDurableObjectAlarm(stub());
  const { jobs } = await (await send("/v1/jobs")).json<JobPage>();
  expect(jobs.map(({ job }) => job)).toEqual(["job"]);
});

test("who asks for a job that lost its alarm sets it again", async () => {
  for (const path of ["/v1/jobs/job", "/v1/jobs"]) {
    const { expiresMs } = await finished();
    await runInDurableObject(stub(), (_job, { storage }) =>
      storage.deleteAlarm(),
    );
    expect((await send(path)).status).toBe(200);
    await settled(expiresMs!);
    await expire();
  }
});

/** Bindings of which call number `fatal` fails, before it does anything or after. */
function faulty(fatal: number, when: "before" | "after") {
  const calls: string[] = [];
  const wrapped = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(_target, name) {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== "function") return member;
        return (...args: unknown[]) => {
          const call = (): unknown => Reflect.apply(member, target, args);
          // These two only make what is called.
          if (/^(idFromName|resumeMultipartUpload)$/.test(String(name)))
            return name === "idFromName" ? call() : wrapped(call() as object);
          if (name === "get" && args.length === 1 && "idFromName" in target)
            return wrapped(call() as object);
          const isFatal = calls.push(String(name)) - 1 === fatal;
          const fail = () => Promise.reject(new Error("killed"));
          if (!isFatal) return call();
          return when === "before"
            ? fail()
            : Promise.resolve(call()).then(fail);
        };
      },
    });
  const env = {
    BUCKET: wrapped(BUCKET),
    DIRECTORY: wrapped(bindings.DIRECTORY),
  };
  return { env, calls };
}

const STEPS = ["abort", "head", "delete", "fetch"];

test.each(
  STEPS.flatMap((step, i) => [
    [i, "before", step] as const,
    [i, "after", step] as const,
  ]),
)(
  "step %i of a removal that dies %s `%s` is repaired",
  async (i, when, _step) => {
    await finished();
    const upload = await leaveUpload();
    await set("expiresMs", 1);
    vi.spyOn(console, "warn").mockImplementation(() => {});
    const { env, calls } = faulty(i, when);
    await runInDurableObject(stub(), async (_job, ctx) => {
      // An alarm that has come is no longer set.
      await ctx.storage.deleteAlarm();
      await new Job(ctx, env).alarm();
      expect(await ctx.storage.getAlarm()).not.toBeNull();
    });
    expect(calls).toEqual(STEPS.slice(0, i + 1));
    // It is gone for callers, and its key is not free before all of it is.
    await problemOf(await send("/v1/jobs/job"), 404, "job_not_found");
    await evictDurableObject(stub());
    await runDurableObjectAlarm(stub());
    await expectTakenBack(upload);
    await expectGone(["source"]);
  },
);

test("a removal takes those steps and no other", async () => {
  await finished();
  await leaveUpload();
  await set("expiresMs", 1);
  const { env, calls } = faulty(-1, "before");
  await runInDurableObject(stub(), (_job, ctx) => new Job(ctx, env).alarm());
  expect(calls).toEqual(STEPS);
  await expectGone(["source"]);
});

test("the same key waits for a removal that goes on, and then begins anew", async () => {
  await finished();
  await set("expiresMs", 1);
  const { env } = faulty(0, "before");
  await runInDurableObject(stub(), async (_job, ctx) => {
    const job = new Job(ctx, env);
    await job.alarm();
    expect(job.find(REQUEST)).toBeNull();
    const again = new Job(ctx, faulty(0, "before").env);
    await expect(again.begin("job", REQUEST)).rejects.toMatchObject({
      code: "unavailable",
    });
  });
  expect((await finished()).state).toBe("finished");
});

test("who reads a result when its time comes gets all of it", async () => {
  // Three parts, none of which the bucket opens before the one in front of it was read.
  const bytes = new Uint8Array(20 * 2 ** 20).fill(7);
  await putFile(
    "source",
    fileOf([f32("w", [32], Array(32).fill(1)), u8("x", [bytes.length], bytes)]),
  );
  const { outputBytes } = await finished();
  const response = await send("/v1/files/result");
  const reader = response.body!.getReader();
  let read = (await reader.read()).value!.length;
  await expire();
  await expectGone(["source"]);
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    read += value.length;
  }
  expect(response.headers.get("Content-Length")).toBe(String(outputBytes));
  expect(read).toBe(outputBytes);
});

test.each([
  [{}, "floor"],
  [{ rounding: "nearest-away" }, "floor"],
  [{ rounding: "stochastic" }, undefined],
  [{ preset: "ggml" }, undefined],
  [{ scale: "ceil" }, "ceil"],
])(
  "what an earlier release began with %j goes on with the scale rule that it had, %s",
  async (options, scale) => {
    const stored = { state: "running", request: { ...REQUEST, options } };
    const file = { key: "files/source", etag: "e", bytes: 9 };
    const after = await runInDurableObject(stub(), (_job, { storage }) => {
      const { sql } = storage;
      JOB_SCHEMA.create(sql);
      sql.exec("UPDATE schema SET version = 1");
      sql.exec("DROP TABLE digests");
      sql.exec(
        "INSERT INTO job VALUES (0, ?, NULL, NULL)",
        JSON.stringify({ ...stored, file, result: "result" }),
      );
      JOB_SCHEMA.open(storage);
      return sql.exec<{ job: string }>("SELECT job FROM job").one().job;
    });
    const expected = scale === undefined ? options : { ...options, scale };
    expect(JSON.parse(after)).toEqual({
      ...stored,
      result: "result",
      uploadName: "result",
      isFolder: false,
      files: [{ ...file, name: REQUEST.source }],
      output: 0,
      digests: null,
      earlier: { inputBytes: 0, outputBytes: 0 },
      request: { ...REQUEST, options: expected },
    });
  },
);

test("SHA-256 of many ranges of a file, by one read of it", async () => {
  const bytes = Uint8Array.from({ length: 5000 }, (_, i) => i % 251);
  const { etag } = (await BUCKET.put("digests", bytes))!;
  const reads: unknown[] = [];
  const bucket = {
    get: (key: string, options: R2GetOptions) => {
      reads.push(options.range);
      return BUCKET.get(key, options);
    },
  } as R2Bucket;
  const ranges = [
    [10, 20],
    [20, 20],
    [20, 3000],
    [4000, 4001],
  ].map(([start, end]) => ({ start: start!, end: end! }));
  const digestsOf = async (etag: string) => {
    const all: string[] = [];
    for await (const each of fileDigests(bucket, "digests", etag, ranges))
      all.push(each);
    return all;
  };
  const expected = ranges.map(async ({ start, end }) => {
    const own = bytes.subarray(start, end);
    const digest = await crypto.subtle.digest("SHA-256", own);
    return Array.from(new Uint8Array(digest), (byte) =>
      byte.toString(16).padStart(2, "0"),
    ).join("");
  });
  expect(await digestsOf(etag)).toEqual(await Promise.all(expected));
  expect(reads).toEqual([{ offset: 10, length: 3991 }]);
  await expect(digestsOf("another")).rejects.toThrow(
    "Expected digests as the job wrote it, got another version",
  );
});
