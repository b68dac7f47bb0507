/** A job's results in the bucket: a multipart upload, then files, whose metadata names the job. */
import { AppError } from "../../api/errors.ts";
import { checkFileName } from "../../api/text-rules.ts";
import { takeBack } from "../directory/unfinished-uploads.ts";
import {
  fileKey,
  filesIn,
  isFolder,
  removeFiles,
} from "../platform/stored-files.ts";
import type { JobOutput } from "./job-output.ts";
import { makesFolder, type StoredJob } from "./job-record.ts";
import type { JobStore } from "./job-store.ts";

export class JobResult {
  readonly #bucket: R2Bucket;
  readonly #store: JobStore;

  constructor(bucket: R2Bucket, store: JobStore) {
    this.#bucket = bucket;
    this.#store = store;
  }

  /** Errors: `file_exists` if a file or folder has the name */
  async checkFree({ result }: StoredJob): Promise<void> {
    const isTaken =
      (await this.#bucket.head(fileKey(result))) !== null ||
      (await isFolder(this.#bucket, result));
    if (isTaken) throw fileExists(result);
  }

  /**
   * The upload of the output being written; created if there is none. Errors: `invalid_name` for a file of a folder
   * whose name, with the folder's, is not allowed
   */
  async upload(job: StoredJob, name: string): Promise<R2MultipartUpload> {
    checkFileName(name);
    const key = fileKey(name);
    if (job.uploadId !== null)
      return this.#bucket.resumeMultipartUpload(key, job.uploadId);
    // A crash before the id is stored leaves an upload without parts, which R2 aborts after a week.
    const upload = await this.#bucket.createMultipartUpload(key, {
      customMetadata: { job: job.job },
    });
    job.uploadId = upload.uploadId;
    job.uploadName = name;
    this.#store.save(job);
    return upload;
  }

  /** Completes the upload, unless that was done before a crash. Returns whether the output needs nothing else. */
  async complete(job: StoredJob, output: JobOutput): Promise<boolean> {
    const { name, digested } = output;
    const present = await this.#bucket.head(fileKey(name));
    if (present && !isOwn(present, job)) throw fileExists(name);
    if (!present) {
      const upload = await this.upload(job, name);
      if (job.parts.length > 0) await upload.complete(job.parts);
      else await this.#putEmpty(job, name, upload);
    }
    if (digested.length === 0) return true;
    job.uploadId = null;
    job.digests = 0;
    this.#store.save(job, null);
    return false;
  }

  /** A multipart upload needs at least one part, so an empty file is written directly. */
  async #putEmpty(
    { job }: StoredJob,
    name: string,
    upload: R2MultipartUpload,
  ): Promise<void> {
    await takeBack(upload);
    const customMetadata = { job };
    await this.#bucket.put(fileKey(name), "", { customMetadata });
  }

  /** A completed output. Errors: `file_exists` if another file is in its place */
  async written(job: StoredJob, name: string): Promise<R2Object> {
    const whole = await this.#bucket.head(fileKey(name));
    if (!whole || !isOwn(whole, job)) throw fileExists(name);
    return whole;
  }

  /** Aborts an unfinished upload. Idempotent. */
  async abort(job: StoredJob): Promise<void> {
    if (job.uploadId === null) return;
    const name = job.uploadName ?? job.result;
    await takeBack(await this.upload(job, name));
    job.uploadId = null;
    this.#store.save(job);
  }

  /** Deletes the result, except for files that others have written in its place. Idempotent. */
  async remove(job: StoredJob): Promise<void> {
    const file = await this.#bucket.head(fileKey(job.result));
    const found = makesFolder(job)
      ? await filesIn(this.#bucket, job.result)
      : file
        ? [file]
        : [];
    await removeFiles(
      this.#bucket,
      found.filter((each) => isOwn(each, job)),
    );
  }
}

function isOwn(object: R2Object, { job }: StoredJob): boolean {
  return object.customMetadata?.job === job;
}

function fileExists(result: string): AppError {
  return new AppError(
    "file_exists",
    `Expected \`result\` to be a name that no file or folder has, got "${result}"`,
  );
}
