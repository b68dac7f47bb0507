/** The work of a job in one alarm. */
import type {
  Conversion,
  SavedConversion,
} from "../../formats/stream/conversion.ts";
import {
  FileSource,
  type ReadFile,
  WINDOW_BYTES,
} from "../../formats/stream/file-source.ts";
import {
  isolateMemory,
  NOTHING,
  type Reservation,
} from "../../memory/ledger.ts";
import { fileKey } from "../platform/stored-files.ts";
import { fileDigests } from "./digest.ts";
import type { JobOutput, JobPlan } from "./job-output.ts";
import { planJob } from "./job-plan.ts";
import { type StoredJob, totalInputBytes } from "./job-record.ts";
import { JobResult } from "./job-result.ts";
import type { JobStore } from "./job-store.ts";
import { PART_BYTES, PartWriter } from "./part-writer.ts";
import { type PinnedFile, pinUrl, readPinned } from "./pinned-file.ts";
import { readUrl, type UrlReader } from "./url-file.ts";
import type { UrlBindings } from "./url-rules.ts";

/** Bytes of input and output per alarm: a fraction of a second, which is what a crash repeats. */
const STRETCH_BYTES = 32 * 1024 * 1024;
/** After this many bytes, the thread is yielded to others. */
const REST_BYTES = 1024 * 1024;
/** The most tensors whose digests are computed per alarm, however small. */
const MOST_DIGESTS = 512;
/**
 * Minimum work per alarm as a multiple of the held bytes, which each alarm stores, so that storing them is never most
 * of the work.
 */
const STRETCH_HOLDS = 16;
/** Memory of the work: two windows of the source (one with its rows reordered), and two parts (one with the tail). */
const STRETCH_MEMORY = 2 * WINDOW_BYTES + 2 * PART_BYTES;
/** The longest wait for memory within an alarm; removing the job waits as long. */
const MAX_WAIT_MS = 2_000;

export class JobWork {
  readonly result: JobResult;
  readonly #bucket: R2Bucket;
  readonly #store: JobStore;
  readonly #isStopped: () => boolean;
  readonly #rules: UrlBindings;
  /** Whether this instance has done no work yet. */
  #isNew = true;
  /** Kept between alarms while there is memory, since a folder has many headers to read. */
  #plan: JobPlan | undefined;
  #reservation: Reservation = NOTHING;

  /** `isStopped` is called before each piece. */
  constructor(
    { BUCKET, ...rules }: { BUCKET: R2Bucket } & UrlBindings,
    store: JobStore,
    isStopped: () => boolean,
  ) {
    this.result = new JobResult(BUCKET, store);
    this.#bucket = BUCKET;
    this.#rules = rules;
    this.#store = store;
    this.#isStopped = isStopped;
  }

  /**
   * Does the next stretch of the work; true when everything is written. Errors: `unavailable` if there is no memory
   * for it
   */
  async stretch(job: StoredJob): Promise<boolean> {
    if (job.files === null) {
      await this.#pin(job);
      return false;
    }
    const plan = await this.#planOf(job, job.files);
    const output = plan.outputs[job.output]!;
    const isDone =
      job.digests !== null
        ? await this.#digest(job, output, job.digests)
        : (job.isCompleting || (await this.#write(job, output))) &&
          (await this.result.complete(job, output));
    if (!isDone) return false;
    this.#next(job, plan);
    return job.output === plan.outputs.length;
  }

  /** Pins the files at the source URL. */
  async #pin(job: StoredJob): Promise<void> {
    const { source } = job.request;
    if (typeof source === "string")
      throw new Error("Expected stored files to have been pinned");
    job.files = await pinUrl(this.#urlReader(job), source.url);
    job.failures = 0;
    this.#store.save(job);
    this.#store.log(`found ${totalInputBytes(job)} bytes`);
  }

  #urlReader({ token = null }: StoredJob): UrlReader {
    return { bindings: this.#rules, token };
  }

  #readOf(job: StoredJob): ReadFile<PinnedFile> {
    const reader = this.#urlReader(job);
    return (file, ...range) =>
      "url" in file
        ? readUrl(reader, file, ...range)
        : readPinned(this.#bucket, file, ...range);
  }

  async #planOf(job: StoredJob, files: PinnedFile[]): Promise<JobPlan> {
    const key = `plan of job ${job.job}`;
    if (!this.#plan) {
      const digests = () => this.#store.digests();
      const plan = await planJob({ ...job, files }, this.#readOf(job), digests);
      this.#plan = plan;
      if (plan.totalBytes !== null) job.totalOutputBytes = plan.totalBytes;
      job.leftOut = [...new Set([...(job.leftOut ?? []), ...plan.leftOut])];
      job.missing = [...plan.missing];
      isolateMemory.keep(key, plan.bytes, () => (this.#plan = undefined));
      return plan;
    }
    isolateMemory.touch(key);
    return this.#plan;
  }

  /** Frees the plan. */
  #forgetPlan({ job }: StoredJob): void {
    this.#plan = undefined;
    isolateMemory.letGo(`plan of job ${job}`);
  }

  /** Starts the next output. */
  #next(job: StoredJob, plan: JobPlan): void {
    const { inputBytes, outputBytes } = job;
    job.output++;
    job.uploadId = null;
    job.parts = [];
    job.isCompleting = false;
    job.digests = null;
    job.earlier = { inputBytes, outputBytes };
    if (job.output === plan.outputs.length) {
      job.inputBytes = totalInputBytes(job)!;
      this.#forgetPlan(job);
    }
    this.#store.save(job, null);
  }

  /** Writes one stretch of an output. Returns whether all its parts are uploaded. */
  async #write(job: StoredJob, output: JobOutput): Promise<boolean> {
    const { conversion, runs } = await output.open();
    const source = new FileSource(this.#readOf(job), runs);
    try {
      const bytes = STRETCH_MEMORY + conversion.heldBytes;
      this.#reservation = await isolateMemory.reserve(
        bytes,
        "request",
        MAX_WAIT_MS,
      );
      const position = this.#store.position();
      this.#resume(conversion, position?.saved);
      source.seek(conversion.inputBytes);
      const upload = await this.result.upload(job, output.name);
      const writer = new PartWriter(upload, job.parts, position?.tail);
      try {
        if (!position) await writer.write(conversion.head);
        if (!(await this.#convert(conversion, source, writer))) return false;
        this.#note(job, conversion, writer);
      } finally {
        writer.release();
      }
    } finally {
      source.release();
      conversion.release();
      this.#reservation.release();
    }
    return job.isCompleting;
  }

  /** Stores the position. */
  #note(job: StoredJob, conversion: Conversion, writer: PartWriter): void {
    const { earlier } = job;
    job.parts = writer.parts;
    job.inputBytes = earlier.inputBytes + conversion.inputBytes;
    job.outputBytes = earlier.outputBytes + conversion.outputBytes;
    const isThrough = conversion.wanted === 0;
    if (conversion.hasTail)
      job.totalOutputBytes = isThrough ? job.outputBytes : null;
    else if (!job.isFolder) job.totalOutputBytes = conversion.totalBytes;
    job.isCompleting = isThrough;
    job.failures = 0;
    this.#store.save(job, { saved: conversion.save(), tail: writer.tail });
  }

  /** Converts one stretch; false if it was stopped. */
  async #convert(
    conversion: Conversion,
    source: FileSource<PinnedFile>,
    writer: PartWriter,
  ): Promise<boolean> {
    const moved = () => conversion.inputBytes + conversion.outputBytes;
    const held = STRETCH_HOLDS * conversion.heldBytes;
    const end = moved() + Math.max(STRETCH_BYTES, held);
    let rest = moved() + REST_BYTES;
    while (conversion.wanted > 0 && moved() < end) {
      if (this.#isStopped()) return false;
      this.#reservation.touch();
      // Reading from the window never waits, so requests about the job would not be answered.
      if (moved() >= rest) {
        await scheduler.wait(0);
        rest = moved() + REST_BYTES;
      }
      const piece = await source.take(conversion.wanted);
      for (const chunk of conversion.convert(piece)) await writer.write(chunk);
    }
    if (conversion.wanted === 0) await writer.flush();
    return true;
  }

  /** Resumes at the saved position, if there is one. */
  #resume(conversion: Conversion, saved: SavedConversion | undefined): void {
    if (saved) conversion.resume(saved);
    if (saved && this.#isNew)
      this.#store.log(`resumed at byte ${conversion.inputBytes}`);
    this.#isNew = false;
  }

  /** Computes some digests of a complete output, from tensor number `from` on. Returns whether these were the last. */
  async #digest(
    job: StoredJob,
    { name, digested }: JobOutput,
    from: number,
  ): Promise<boolean> {
    const key = fileKey(name);
    const whole = await this.result.written(job, name);
    const dataStart = whole.size - digested[0]!.fileBytes;
    const some = atOnce(digested.slice(from, from + MOST_DIGESTS));
    const ranges = some.map(({ start, end }) => ({
      start: dataStart + start,
      end: dataStart + end,
    }));
    let next = from;
    const digests = fileDigests(this.#bucket, key, whole.etag, ranges);
    for await (const digest of digests) {
      if (this.#isStopped()) return false;
      this.#store.addDigest(digested[next++]!.name, digest);
    }
    job.digests = next;
    this.#store.save(job);
    return next === digested.length;
  }

  /** Frees the plan, and aborts an unfinished upload. Idempotent. */
  async abort(job: StoredJob): Promise<void> {
    this.#forgetPlan(job);
    await this.result.abort(job);
  }
}

/** The first range, and those after it that end within one stretch of the file. */
function atOnce<T extends { start: number; end: number }>(
  stretches: readonly T[],
): readonly T[] {
  const end = stretches[0]!.start + STRETCH_BYTES;
  const past = stretches.findIndex((each, i) => i > 0 && each.end > end);
  return past < 0 ? stretches : stretches.slice(0, past);
}
