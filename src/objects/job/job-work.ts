/** What a job does between two alarms. */
import { AppError } from "../../api/errors.ts";
import type {
  Conversion,
  SavedConversion,
} from "../../formats/stream/conversion.ts";
import { readTensorFile } from "../../formats/containers/containers.ts";
import { planFile, rawOf } from "../../formats/operations/file-operation.ts";
import {
  scalesFirst,
  type Stretch,
} from "../../formats/blocks/scales-first.ts";
import {
  isolateMemory,
  NOTHING,
  type Reservation,
} from "../../memory/ledger.ts";
import { takeBack } from "../directory/unfinished-uploads.ts";
import { fileKey } from "../platform/stored-files.ts";
import { FileSource, WINDOW_BYTES } from "./file-source.ts";
import type { StoredJob } from "./job-record.ts";
import type { JobStore } from "./job-store.ts";
import { PART_BYTES, PartWriter } from "./part-writer.ts";

/** Of input and output in one alarm: a fraction of a second, and what a crash costs. */
const STRETCH_BYTES = 32 * 1024 * 1024;
/** Others get their turn on the thread after so much. */
const REST_BYTES = 1024 * 1024;
/** Times what is held, which each alarm writes down, so that writing it is never most of the work. */
const STRETCH_HOLDS = 16;
/** A window of the source, the part, and the tail that it begins with. */
const STRETCH_MEMORY = WINDOW_BYTES + 2 * PART_BYTES;
/** For memory, within one alarm: whoever wants to remove the job waits as long. */
const MAX_WAIT_MS = 2_000;

type Opened = {
  conversion: Conversion;
  source: FileSource;
  headBytes: number;
  stretches: readonly Stretch[];
};

export class JobWork {
  readonly #bucket: R2Bucket;
  readonly #store: JobStore;
  readonly #isStopped: () => boolean;
  /** This instance has not worked yet. */
  #isNew = true;
  #reservation: Reservation = NOTHING;

  /** `isStopped` is asked before each piece. */
  constructor(bucket: R2Bucket, store: JobStore, isStopped: () => boolean) {
    this.#bucket = bucket;
    this.#store = store;
    this.#isStopped = isStopped;
  }

  /**
   * Take the next stretch of the source; true when the result is whole.
   * Errors: `unavailable` while there is no memory for it
   */
  async stretch(job: StoredJob): Promise<boolean> {
    if (job.isCompleting) return this.#complete(job);
    const opened = await this.#open(job);
    const { conversion, source } = opened;
    try {
      const bytes = STRETCH_MEMORY + conversion.heldBytes;
      this.#reservation = await isolateMemory.reserve(
        bytes,
        "request",
        MAX_WAIT_MS,
      );
      const position = this.#store.position();
      this.#resume(opened, position?.saved);
      const upload = await this.#upload(job);
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
    return job.isCompleting ? this.#complete(job) : false;
  }

  /** Write down where it stands. */
  #note(job: StoredJob, conversion: Conversion, writer: PartWriter): void {
    const isWhole = conversion.wanted === 0;
    job.parts = writer.parts;
    job.inputBytes = isWhole ? job.file.bytes : conversion.inputBytes;
    job.outputBytes = conversion.outputBytes;
    job.totalOutputBytes = conversion.totalBytes;
    job.isCompleting = isWhole;
    job.failures = 0;
    this.#store.save(job, { saved: conversion.save(), tail: writer.tail });
  }

  /** One stretch; false when it was stopped. */
  async #convert(
    conversion: Conversion,
    source: FileSource,
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

  /** The conversion from the start, and its source. */
  async #open({ request, file }: StoredJob): Promise<Opened> {
    const source = new FileSource(this.#bucket, file);
    const raw = rawOf((request.options ?? {}) as Parameters<typeof rawOf>[0]);
    const stored = await readTensorFile(source, file.bytes, raw);
    const ordered = scalesFirst(stored, pairsOf(request));
    const conversion = planFile(ordered.file, request);
    const { stretches } = ordered;
    return { conversion, source, headBytes: stored.headBytes, stretches };
  }

  /** Go to where it stood, if it did. */
  #resume(
    { conversion, source, headBytes, stretches }: Opened,
    saved: SavedConversion | undefined,
  ): void {
    if (saved) conversion.resume(saved);
    if (saved && this.#isNew)
      this.#store.log(`resumed at byte ${conversion.inputBytes}`);
    this.#isNew = false;
    source.seek(headBytes, conversion.inputBytes, stretches);
  }

  async #upload(job: StoredJob): Promise<R2MultipartUpload> {
    const key = fileKey(job.result);
    if (job.uploadId !== null)
      return this.#bucket.resumeMultipartUpload(key, job.uploadId);
    // A crash before its id is written leaves an upload without parts, which R2 ends after a week.
    const upload = await this.#bucket.createMultipartUpload(key, {
      customMetadata: { job: job.job },
    });
    job.uploadId = upload.uploadId;
    this.#store.save(job);
    return upload;
  }

  /** Refuse a name that has a file. Errors: `file_exists` */
  async checkFree(result: string): Promise<void> {
    if (await this.#bucket.head(fileKey(result))) throw fileExists(result);
  }

  /** Put the parts together, unless that was done before a crash. */
  async #complete(job: StoredJob): Promise<true> {
    const present = await this.#bucket.head(fileKey(job.result));
    if (present && !isOwn(present, job)) throw fileExists(job.result);
    if (!present) {
      const upload = await this.#upload(job);
      await upload.complete(job.parts);
    }
    return true;
  }

  /** Nothing of an unfinished upload stays. Repeating it does no harm. */
  async abort(job: StoredJob): Promise<void> {
    if (job.uploadId === null) return;
    await takeBack(await this.#upload(job));
    job.uploadId = null;
    this.#store.save(job);
  }

  /** The result goes, unless its name has another file by now. Repeating it does no harm. */
  async removeResult(job: StoredJob): Promise<void> {
    const key = fileKey(job.result);
    const present = await this.#bucket.head(key);
    if (present && isOwn(present, job)) await this.#bucket.delete(key);
  }
}

function isOwn(object: R2Object, { job }: StoredJob): boolean {
  return object.customMetadata?.job === job;
}

function fileExists(result: string): AppError {
  return new AppError(
    "file_exists",
    `Expected \`result\` to be the name of no file yet, got "${result}"`,
  );
}

/** Of which pairs a part is held until the other comes: fewer bytes of them when scales come first. */
function pairsOf({ operation, options }: StoredJob["request"]) {
  return {
    blocks:
      operation === "dequantize" ||
      (operation === "repack" && options?.to === "ggml"),
    float8: operation !== "repack",
  };
}
