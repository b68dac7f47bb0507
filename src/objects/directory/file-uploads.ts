/**
 * Uploads of files that callers send in parts, over any number of requests and any time. R2 cannot list the parts of
 * an unfinished upload, so they are recorded here. An upload to which nothing is sent for a day is aborted.
 */
import { AppError } from "../../api/errors.ts";
import type { FileUpload, UploadPart } from "../../api/tensors.ts";
import { PARTS_LEASE_MS } from "./sweep-alarm.ts";
import type { UnfinishedUploads } from "./unfinished-uploads.ts";

/** An upload with its R2 id; `mark` identifies the file that results from it. */
export type StoredUpload = Omit<FileUpload, "parts"> & {
  uploadId: string;
  mark: string;
};
/** A part with its R2 ETag. */
export type StoredPart = UploadPart & { etag: string };

export class FileUploads {
  readonly #sql: SqlStorage;
  readonly #unfinished: UnfinishedUploads;

  constructor(sql: SqlStorage, unfinished: UnfinishedUploads) {
    this.#sql = sql;
    this.#unfinished = unfinished;
  }

  /** Adds a new upload; false if one with its name is in progress. */
  async enter(entry: StoredUpload, key: string): Promise<boolean> {
    const { file, upload, bytes, partBytes, uploadId, mark } = entry;
    if (this.find(file, upload)) return false;
    this.#sql.exec(
      "INSERT INTO file_uploads VALUES (?, ?, ?, ?, ?, ?)",
      uploadId,
      file,
      upload,
      bytes,
      partBytes,
      mark,
    );
    await this.#unfinished.enter(uploadId, key, PARTS_LEASE_MS);
    return true;
  }

  /** An upload in progress, or null. */
  find(file: string, upload: string): StoredUpload | null {
    const [row] = this.#sql.exec<StoredUpload>(
      `SELECT upload_id AS uploadId, file, upload, bytes, part_bytes AS partBytes, mark
       FROM file_uploads WHERE file = ? AND upload = ?`,
      file,
      upload,
    );
    return row ?? null;
  }

  /** In order of part number. */
  parts(uploadId: string): StoredPart[] {
    return this.#sql
      .exec<StoredPart>(
        "SELECT part, bytes, digest, etag FROM file_parts WHERE upload_id = ? ORDER BY part",
        uploadId,
      )
      .toArray();
  }

  /** Adds a part, or replaces the one with its number. Errors: `upload_not_found` if the upload has ended */
  addPart(uploadId: string, { part, bytes, digest, etag }: StoredPart): void {
    const [upload] = this.#sql.exec(
      "SELECT 1 FROM file_uploads WHERE upload_id = ?",
      uploadId,
    );
    if (!upload) {
      throw new AppError(
        "upload_not_found",
        `Expected an upload in progress, got one that ended while part ${part} was being received`,
      );
    }
    this.#sql.exec(
      "INSERT OR REPLACE INTO file_parts VALUES (?, ?, ?, ?, ?)",
      uploadId,
      part,
      bytes,
      digest,
      etag,
    );
    this.#unfinished.renew(uploadId, PARTS_LEASE_MS);
  }

  /** Called before a part is replaced, since the new one may be interrupted. */
  forgetPart(uploadId: string, part: number): void {
    this.#sql.exec(
      "DELETE FROM file_parts WHERE upload_id = ? AND part = ?",
      uploadId,
      part,
    );
  }

  /** All parts must be sent again. */
  forgetParts(uploadId: string): void {
    this.#sql.exec("DELETE FROM file_parts WHERE upload_id = ?", uploadId);
  }
}
