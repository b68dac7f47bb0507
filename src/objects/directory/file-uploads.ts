/**
 * Uploads of files that callers send in parts, over as many requests and for as long as it takes. The bucket
 * tells no parts of an upload that is under way, so they stand here; one that nobody sends to for a day goes.
 */
import { AppError } from "../../api/errors.ts";
import type { FileUpload, UploadPart } from "../../api/tensors.ts";
import { PARTS_LEASE_MS } from "./sweep-alarm.ts";
import type { UnfinishedUploads } from "./unfinished-uploads.ts";

/** An upload, R2's id of it, and what marks the file that it becomes. */
export type StoredUpload = Omit<FileUpload, "parts"> & {
  uploadId: string;
  mark: string;
};
/** With the ETag by which R2 knows it. */
export type StoredPart = UploadPart & { etag: string };

export class FileUploads {
  readonly #sql: SqlStorage;
  readonly #unfinished: UnfinishedUploads;

  constructor(sql: SqlStorage, unfinished: UnfinishedUploads) {
    this.#sql = sql;
    this.#unfinished = unfinished;
  }

  /** Enter one that nobody sends to yet; false where one of its name is under way. */
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

  /** One that is under way, or null. */
  find(file: string, upload: string): StoredUpload | null {
    const [row] = this.#sql.exec<StoredUpload>(
      `SELECT upload_id AS uploadId, file, upload, bytes, part_bytes AS partBytes, mark
       FROM file_uploads WHERE file = ? AND upload = ?`,
      file,
      upload,
    );
    return row ?? null;
  }

  /** By number. */
  parts(uploadId: string): StoredPart[] {
    return this.#sql
      .exec<StoredPart>(
        "SELECT part, bytes, digest, etag FROM file_parts WHERE upload_id = ? ORDER BY part",
        uploadId,
      )
      .toArray();
  }

  /** In place of what came under its number. Errors: `upload_not_found`, it is over by now */
  addPart(uploadId: string, { part, bytes, digest, etag }: StoredPart): void {
    const [upload] = this.#sql.exec(
      "SELECT 1 FROM file_uploads WHERE upload_id = ?",
      uploadId,
    );
    if (!upload) {
      throw new AppError(
        "upload_not_found",
        `Expected an upload that is under way, got one that ended while part ${part} came`,
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

  /** It is about to be replaced, and what comes may break off. */
  forgetPart(uploadId: string, part: number): void {
    this.#sql.exec(
      "DELETE FROM file_parts WHERE upload_id = ? AND part = ?",
      uploadId,
      part,
    );
  }

  /** All must come again. */
  forgetParts(uploadId: string): void {
    this.#sql.exec("DELETE FROM file_parts WHERE upload_id = ?", uploadId);
  }
}
