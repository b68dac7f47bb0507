/**
 * Uploads in parts that are under way. Their bytes are in no object yet, so no list of the bucket shows
 * them; whatever dies, an upload is taken back once nobody has renewed it for LEASE_MS.
 */
import { LEASE_MS, setSweepAlarm } from "./sweep-alarm.ts";

/** R2's code for an upload that is whole, or gone: it has nothing left to take back. */
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

  /** It goes on. */
  renew(uploadId: string, leaseMs = LEASE_MS): void {
    this.#storage.sql.exec(
      "UPDATE uploads SET until_ms = ? WHERE upload_id = ?",
      Date.now() + leaseMs,
      uploadId,
    );
  }

  /** It is whole, or taken back. */
  leave(uploadId: string): void {
    for (const table of ["uploads", "file_uploads", "file_parts"]) {
      this.#storage.sql.exec(
        `DELETE FROM ${table} WHERE upload_id = ?`,
        uploadId,
      );
    }
  }

  /** Take back those that nobody renews. Repeating it, also half done, does no harm. */
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

/** End an upload whose parts shall not stay. Repeating it does no harm. */
export async function takeBack(upload: R2MultipartUpload): Promise<void> {
  try {
    await upload.abort();
  } catch (error) {
    if (!isNoSuchUpload(error)) throw error;
  }
}

/** Whether R2 says so. */
export function isNoSuchUpload(error: unknown): boolean {
  return String(error).includes(NO_SUCH_UPLOAD);
}
