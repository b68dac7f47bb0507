/** What a job does between two alarms. */
import { AppError } from "../../api/errors.ts";
import type {
  Conversion,
  SavedConversion,
} from "../../formats/stream/conversion.ts";
import { readInput } from "../../formats/containers/input.ts";
import { planFile, rawOf } from "../../formats/operations/plan.ts";
import { scalesFirst } from "../../formats/blocks/scales-first.ts";
import { FileSource } from "./file-source.ts";
import { free } from "../free.ts";
import type { StoredJob } from "./job-record.ts";
import type { JobStore } from "./job-store.ts";
import { PartWriter } from "./part-writer.ts";

/** Of input and output in one alarm: a fraction of a second, and what a crash costs. */
const STRETCH_BYTES = 32 * 1024 * 1024;
/** Times what is held, which each alarm writes down, so that writing it is never most of the work. */
const STRETCH_HOLDS = 16;

/** R2's code for an upload that is whole, or gone: it has nothing left to take back. */
const NO_SUCH_UPLOAD = "(10024)";

/** Where files are in the bucket. */
export function fileKey(name: string): string {
  return `files/${name}`;
}

export class JobWork {
  readonly #bucket: R2Bucket;
  readonly #store: JobStore;
  readonly #isStopped: () => boolean;
  /** This instance has not worked yet. */
  #isNew = true;

  /** `isStopped` is asked before each piece. */
  constructor(bucket: R2Bucket, store: JobStore, isStopped: () => boolean) {
    this.#bucket = bucket;
    this.#store = store;
    this.#isStopped = isStopped;
  }

  /** Take the next stretch of the source; true when the result is whole. */
  async stretch(job: StoredJob): Promise<boolean> {
    if (job.isCompleting) return this.#complete(job);
    const position = this.#store.position();
    const { conversion, source } = await this.#open(job, position?.saved);
    const upload = await this.#upload(job);
    const writer = new PartWriter(upload, job.parts, position?.tail);
    try {
      if (!position) await writer.write(conversion.head);
      if (!(await this.#convert(conversion, source, writer))) return false;
      const isWhole = conversion.wanted === 0;
      job.parts = writer.parts;
      job.inputBytes = isWhole ? job.file.bytes : conversion.inputBytes;
      job.outputBytes = conversion.outputBytes;
      job.totalOutputBytes = conversion.totalBytes;
      job.isCompleting = isWhole;
      job.failures = 0;
      const saved = conversion.save();
      this.#store.save(job, { saved, tail: writer.tail });
    } finally {
      source.release();
      writer.release();
      for (const { bytes } of conversion.save().held) free(bytes);
    }
    return job.isCompleting ? this.#complete(job) : false;
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
    while (conversion.wanted > 0 && moved() < end) {
      if (this.#isStopped()) return false;
      const piece = await source.take(conversion.wanted);
      for (const chunk of conversion.convert(piece)) await writer.write(chunk);
    }
    if (conversion.wanted === 0) await writer.flush();
    return true;
  }

  /** The conversion where it stands, and the source from there on. */
  async #open(
    job: StoredJob,
    saved: SavedConversion | undefined,
  ): Promise<{ conversion: Conversion; source: FileSource }> {
    const { request, file } = job;
    const source = new FileSource(this.#bucket, file);
    const raw = rawOf((request.options ?? {}) as Parameters<typeof rawOf>[0]);
    const input = await readInput(source, file.bytes, raw);
    const isPaired =
      request.operation === "dequantize" && input.container !== "gguf";
    const { input: ordered, stretches } = isPaired
      ? scalesFirst(input)
      : { input, stretches: [] };
    const conversion = planFile(ordered, request);
    if (saved) conversion.resume(saved);
    if (saved && this.#isNew)
      this.#store.log(`resumed at byte ${conversion.inputBytes}`);
    this.#isNew = false;
    source.seek(input.headBytes, conversion.inputBytes, stretches);
    return { conversion, source };
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
    try {
      await (await this.#upload(job)).abort();
    } catch (error) {
      if (!String(error).includes(NO_SUCH_UPLOAD)) throw error;
    }
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
