/** What a job does between two alarms. */
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

/** Of input and output in one alarm: a fraction of a second, and what a crash costs. */
const STRETCH_BYTES = 32 * 1024 * 1024;
/** Others get their turn on the thread after so much. */
const REST_BYTES = 1024 * 1024;
/** Tensors whose digests are made in one turn, however small they are. */
const MOST_DIGESTS = 512;
/** Times what is held, which each alarm writes down, so that writing it is never most of the work. */
const STRETCH_HOLDS = 16;
/** A window of the source, its rows in order, the part, and the tail that it begins with. */
const STRETCH_MEMORY = 2 * WINDOW_BYTES + 2 * PART_BYTES;
/** For memory, within one alarm: whoever wants to remove the job waits as long. */
const MAX_WAIT_MS = 2_000;

export class JobWork {
  readonly result: JobResult;
  readonly #bucket: R2Bucket;
  readonly #store: JobStore;
  readonly #isStopped: () => boolean;
  readonly #rules: UrlBindings;
  /** This instance has not worked yet. */
  #isNew = true;
  /** Kept from alarm to alarm while there is room: a folder has many heads. */
  #plan: JobPlan | undefined;
  #reservation: Reservation = NOTHING;

  /** `isStopped` is asked before each piece. */
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
   * Take the next stretch of the work; true when all is written.
   * Errors: `unavailable` while there is no memory for it
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

  /** What its URL has. */
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

  /** The plan is not needed any more. */
  #forgetPlan({ job }: StoredJob): void {
    this.#plan = undefined;
    isolateMemory.letGo(`plan of job ${job}`);
  }

  /** Begin with the next file. */
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

  /** One stretch of a file; whether all its parts are there. */
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

  /** Write down where it stands. */
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

  /** One stretch; false when it was stopped. */
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
      // What is in the window comes without a wait, and whoever asks for the job would have one.
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

  /** Go to where it stood, if it did. */
  #resume(conversion: Conversion, saved: SavedConversion | undefined): void {
    if (saved) conversion.resume(saved);
    if (saved && this.#isNew)
      this.#store.log(`resumed at byte ${conversion.inputBytes}`);
    this.#isNew = false;
  }

  /** Some of the digests of a file that is whole, from number `from` on; whether they are all. */
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

  /** Nothing of an unfinished upload stays. Repeating it does no harm. */
  async abort(job: StoredJob): Promise<void> {
    this.#forgetPlan(job);
    await this.result.abort(job);
  }
}

/** The first of them, and those that one stretch of the file holds with it. */
function atOnce<T extends { start: number; end: number }>(
  stretches: readonly T[],
): readonly T[] {
  const end = stretches[0]!.start + STRETCH_BYTES;
  const past = stretches.findIndex((each, i) => i > 0 && each.end > end);
  return past < 0 ? stretches : stretches.slice(0, past);
}
