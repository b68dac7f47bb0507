/** What a job leaves in the bucket: an upload, then files, which are its own by their metadata. */
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

  /** Refuse a name that has a file, or is a folder's. Errors: `file_exists` */
  async checkFree({ result }: StoredJob): Promise<void> {
    const isTaken =
      (await this.#bucket.head(fileKey(result))) !== null ||
      (await isFolder(this.#bucket, result));
    if (isTaken) throw fileExists(result);
  }

  /**
   * The upload of the file that is being written; begun where there is none.
   * Errors: `invalid_name` for one in a folder that makes of it more than a name may be
   */
  async upload(job: StoredJob, name: string): Promise<R2MultipartUpload> {
    checkFileName(name);
    const key = fileKey(name);
    if (job.uploadId !== null)
      return this.#bucket.resumeMultipartUpload(key, job.uploadId);
    // A crash before its id is written leaves an upload without parts, which R2 ends after a week.
    const upload = await this.#bucket.createMultipartUpload(key, {
      customMetadata: { job: job.job },
    });
    job.uploadId = upload.uploadId;
    job.uploadName = name;
    this.#store.save(job);
    return upload;
  }

  /** Put the parts together, unless that was done before a crash; whether nothing else is to be done. */
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

  /** An upload has one part at least. */
  async #putEmpty(
    { job }: StoredJob,
    name: string,
    upload: R2MultipartUpload,
  ): Promise<void> {
    await takeBack(upload);
    const customMetadata = { job };
    await this.#bucket.put(fileKey(name), "", { customMetadata });
  }

  /** A file that is whole. Errors: `file_exists`, another is in its place */
  async written(job: StoredJob, name: string): Promise<R2Object> {
    const whole = await this.#bucket.head(fileKey(name));
    if (!whole || !isOwn(whole, job)) throw fileExists(name);
    return whole;
  }

  /** Nothing of an unfinished upload stays. Repeating it does no harm. */
  async abort(job: StoredJob): Promise<void> {
    if (job.uploadId === null) return;
    const name = job.uploadName ?? job.result;
    await takeBack(await this.upload(job, name));
    job.uploadId = null;
    this.#store.save(job);
  }

  /** The result goes, but for what others have put in its place. Repeating it does no harm. */
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
    `Expected \`result\` to be the name of no file or folder yet, got "${result}"`,
  );
}
