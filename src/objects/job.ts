/**
 * A conversion of a file in the bucket to another, for files of any size. Alarms drive it: each takes a
 * stretch of the source, uploads whole parts of the result, and writes down where it stands, so a
 * restart goes on from there and ends in the same bytes. The result appears when it is whole.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError } from "../api/errors.ts";
import type { JobRequest, JobStatus } from "../api/tensors.ts";
import type { Conversion } from "../formats/conversion.ts";
import { readInput } from "../formats/input.ts";
import { planFile, rawOf } from "../formats/plan.ts";
import { scalesFirst } from "../formats/scales-first.ts";
import { FileSource, type PinnedFile } from "./file-source.ts";
import { JobStore, type StoredJob } from "./job-store.ts";
import { jsonCalls, type JsonStub, jsonStub } from "./json-calls.ts";
import { Lock } from "./lock.ts";
import { PartWriter } from "./part-writer.ts";

/** Of input and output in one alarm: a fraction of a second, and what a crash costs. */
const STRETCH_BYTES = 32 * 1024 * 1024;
/** From within an alarm, one for this very moment would be lost. */
const NEXT_MS = 1;
/** Failures in a row that are no refusals, after which a job fails; pauses between them double. */
const MAX_FAILURES = 6;
const FIRST_PAUSE_MS = 250;

type JobBindings = { BUCKET: R2Bucket };

export class Job extends DurableObject<JobBindings> {
  readonly #store = new JobStore(this.ctx.storage);
  readonly #lock = new Lock();
  readonly #calls = jsonCalls(this.ctx, jobMethods(this));
  #isRemoved = false;
  /** This instance has not worked yet. */
  #isNew = true;

  override fetch(request: Request): Promise<Response> {
    return this.#calls.fetch(request);
  }

  /** The job, if it has begun with this request. Errors: `job_differs` */
  find(request: JobRequest): JobStatus | null {
    const present = this.#store.load();
    if (!present) return null;
    if (JSON.stringify(present.request) === JSON.stringify(request))
      return this.status();
    throw new AppError(
      "job_differs",
      `Expected the request with which job "${present.job}" began, got another`,
    );
  }

  /** Begin, or find it begun. Errors: `job_differs` */
  async begin(
    job: string,
    request: JobRequest,
    file: PinnedFile,
    result: string,
  ): Promise<{ created: boolean; status: JobStatus }> {
    const present = this.find(request);
    if (present) return { created: false, status: present };
    this.#store.create();
    this.#store.save({
      job,
      request,
      file,
      result,
      state: "running",
      uploadId: null,
      parts: [],
      isCompleting: false,
      failures: 0,
      inputBytes: 0,
      outputBytes: 0,
      totalOutputBytes: null,
      createdMs: Date.now(),
      endedMs: null,
      error: null,
    });
    this.#store.log(`begun: ${request.operation} of ${file.bytes} bytes`);
    await this.ctx.storage.setAlarm(Date.now());
    return { created: true, status: this.status() };
  }

  /** Errors: `job_not_found` */
  status(): JobStatus {
    const { request, file, result, ...job } = this.#job();
    return {
      job: job.job,
      state: job.state,
      source: request.source,
      result,
      operation: request.operation,
      inputBytes: job.inputBytes,
      totalInputBytes: file.bytes,
      outputBytes: job.outputBytes,
      totalOutputBytes: job.totalOutputBytes,
      createdMs: job.createdMs,
      endedMs: job.endedMs,
      error: job.error,
      log: this.#store.lines(),
    };
  }

  /** Stop, if it runs, and forget the job; a result that is whole stays. Errors: `job_not_found` */
  async remove(): Promise<void> {
    this.#job();
    this.#isRemoved = true;
    await this.#lock.run(async () => {
      const job = this.#store.load();
      if (job) await this.#abort(job);
      await this.ctx.storage.deleteAlarm();
      await this.ctx.storage.deleteAll();
      this.#isRemoved = false;
    });
  }

  override async alarm(): Promise<void> {
    await this.#lock.run(() => this.#advance());
  }

  async #advance(): Promise<void> {
    const job = this.#isRemoved ? undefined : this.#store.load();
    if (job?.state !== "running") return;
    let pauseMs = NEXT_MS;
    try {
      await this.#stretch(job);
    } catch (error) {
      pauseMs = FIRST_PAUSE_MS * 2 ** job.failures;
      await this.#fail(job, error);
    }
    if (job.state === "running" && !this.#isRemoved)
      await this.ctx.storage.setAlarm(Date.now() + pauseMs);
  }

  /** A refusal ends the job; anything else may pass, a few times. */
  async #fail(job: StoredJob, error: unknown): Promise<void> {
    const isRefusal = error instanceof AppError;
    const text = error instanceof Error ? error.message : String(error);
    if (!isRefusal) console.error(error);
    if (!isRefusal && ++job.failures < MAX_FAILURES) {
      this.#store.save(job);
      this.#store.log(`interrupted: ${text}`);
      return;
    }
    await this.#abort(job);
    const code = isRefusal ? error.code : "unavailable";
    job.error = { code, detail: text };
    this.#end(job, "failed");
  }

  /** Take the next stretch of the source. */
  async #stretch(job: StoredJob): Promise<void> {
    if (job.isCompleting) return this.#complete(job);
    const { conversion, source } = await this.#open(job);
    const upload = await this.#upload(job);
    const position = this.#store.position();
    const parts = job.parts;
    const writer = new PartWriter(
      upload,
      parts,
      position?.tail ?? new Uint8Array(0),
    );
    if (!position) await writer.write(conversion.head);
    const moved = () => conversion.inputBytes + conversion.outputBytes;
    const end = moved() + STRETCH_BYTES;
    while (conversion.wanted > 0 && moved() < end && !this.#isRemoved) {
      const piece = await source.take(conversion.wanted);
      for (const chunk of conversion.convert(piece)) await writer.write(chunk);
    }
    if (this.#isRemoved) return;
    const isWhole = conversion.wanted === 0;
    if (isWhole) await writer.flush();
    job.parts = writer.parts;
    job.inputBytes = isWhole ? job.file.bytes : conversion.inputBytes;
    job.outputBytes = conversion.outputBytes;
    job.totalOutputBytes = conversion.totalBytes;
    job.isCompleting = isWhole;
    job.failures = 0;
    const { tail } = writer;
    this.#store.save(job, { saved: conversion.save(), tail });
    if (isWhole) await this.#complete(job);
  }

  /** The conversion where it stands, and the source from there on. */
  async #open(
    job: StoredJob,
  ): Promise<{ conversion: Conversion; source: FileSource }> {
    const { request, file } = job;
    const source = new FileSource(this.env.BUCKET, file);
    const raw = rawOf((request.options ?? {}) as Parameters<typeof rawOf>[0]);
    const input = await readInput(source, file.bytes, raw);
    const isPaired =
      request.operation === "dequantize" && input.container !== "gguf";
    const { input: ordered, stretches } = isPaired
      ? scalesFirst(input)
      : { input, stretches: [] };
    const conversion = planFile(ordered, request);
    const position = this.#store.position();
    if (position) conversion.resume(position.saved);
    if (position && this.#isNew)
      this.#store.log(`resumed at byte ${conversion.inputBytes}`);
    this.#isNew = false;
    source.seek(input.headBytes, conversion.inputBytes, stretches);
    return { conversion, source };
  }

  async #upload(job: StoredJob): Promise<R2MultipartUpload> {
    const key = fileKey(job.result);
    const { BUCKET } = this.env;
    if (job.uploadId !== null)
      return BUCKET.resumeMultipartUpload(key, job.uploadId);
    const upload = await BUCKET.createMultipartUpload(key, {
      customMetadata: { job: job.job },
    });
    job.uploadId = upload.uploadId;
    this.#store.save(job);
    return upload;
  }

  /** Put the parts together, unless that was done before a crash. */
  async #complete(job: StoredJob): Promise<void> {
    const key = fileKey(job.result);
    const present = await this.env.BUCKET.head(key);
    const isOwn = present?.customMetadata?.job === job.job;
    if (present && !isOwn) {
      throw new AppError(
        "file_exists",
        `Expected no file "${job.result}" when the job ends, got one`,
      );
    }
    if (!isOwn) {
      const upload = await this.#upload(job);
      await upload.complete(job.parts);
    }
    this.#end(job, "finished");
  }

  #end(job: StoredJob, state: "finished" | "failed"): void {
    job.state = state;
    job.endedMs = Date.now();
    job.uploadId = null;
    job.parts = [];
    this.#store.save(job);
    this.#store.log(job.error ? `failed: ${job.error.detail}` : "finished");
  }

  /** Nothing of an unfinished upload stays. */
  async #abort(job: StoredJob): Promise<void> {
    if (job.uploadId === null) return;
    try {
      await (await this.#upload(job)).abort();
    } catch (error) {
      // One that is whole, or gone, has nothing left to take back.
      console.warn(error);
    }
  }

  #job(): StoredJob {
    const job = this.#store.load();
    if (job && !this.#isRemoved) return job;
    throw new AppError(
      "job_not_found",
      "Expected the id of a job, got another",
    );
  }
}

export function jobStub(
  bindings: { JOB: DurableObjectNamespace },
  job: string,
): JsonStub<ReturnType<typeof jobMethods>> {
  return jsonStub(bindings.JOB, job);
}

/** Where files are in the bucket. */
export function fileKey(name: string): string {
  return `files/${name}`;
}

function jobMethods(job: Job) {
  return {
    find: (request: JobRequest) => job.find(request),
    begin: (
      id: string,
      request: JobRequest,
      file: PinnedFile,
      result: string,
    ) => job.begin(id, request, file, result),
    status: () => job.status(),
    remove: () => job.remove(),
  };
}
