/**
 * Multipart uploads in progress. Listing the bucket does not show them, since their bytes are in no object yet.
 * Whatever crashes, an upload is aborted once it has not been renewed for LEASE_MS.
 */
import { LEASE_MS, setSweepAlarm } from "./sweep-alarm.ts";

/** R2's error code for an upload that is complete or aborted: there is nothing left to abort. */
const NO_SUCH_UPLOAD = "(10024)";

export class UnfinishedUploads {
  readonly #storage: DurableObjectStorage;
  readonly #bucket: R2Bucket;

  constructor(storage: DurableObjectStorage, bucket: R2Bucket) {
    this.#storage = storage;
    this.#bucket = bucket;
  }

  async enter(
    uploadId: string,
    key: string,
    leaseMs = LEASE_MS,
  ): Promise<void> {
    this.#storage.sql.exec(
      "INSERT INTO uploads VALUES (?, ?, ?)",
      uploadId,
      key,
      Date.now() + leaseMs,
    );
    await setSweepAlarm(this.#storage);
  }

  /** The upload is still in progress. */
  renew(uploadId: string, leaseMs = LEASE_MS): void {
    this.#storage.sql.exec(
      "UPDATE uploads SET until_ms = ? WHERE upload_id = ?",
      Date.now() + leaseMs,
      uploadId,
    );
  }

  /** The upload is complete or aborted. */
  leave(uploadId: string): void {
    for (const table of ["uploads", "file_uploads", "file_parts"]) {
      this.#storage.sql.exec(
        `DELETE FROM ${table} WHERE upload_id = ?`,
        uploadId,
      );
    }
  }

  /** Aborts the uploads whose leases have ended. Idempotent, also if interrupted. */
  async sweep(): Promise<void> {
    const over = this.#storage.sql
      .exec<{ upload_id: string; key: string }>(
        "SELECT upload_id, key FROM uploads WHERE until_ms <= ?",
        Date.now(),
      )
      .toArray();
    for (const { upload_id: id, key } of over) {
      await takeBack(this.#bucket.resumeMultipartUpload(key, id));
      this.leave(id);
    }
  }
}

/** Aborts an upload and deletes its parts. Idempotent. */
export async function takeBack(upload: R2MultipartUpload): Promise<void> {
  try {
    await upload.abort();
  } catch (error) {
    if (!isNoSuchUpload(error)) throw error;
  }
}

/** Whether this is R2's error for an upload that does not exist. */
export function isNoSuchUpload(error: unknown): boolean {
  return String(error).includes(NO_SUCH_UPLOAD);
}
