/**
 * Keys in the bucket that belong to no directory entry: of uploads in progress, and of removed entries. A key is
 * added before its blob is written, and leaves in the transaction that adds its owner. So whatever crashes in
 * between, the blob is deleted once its key has not been renewed for LEASE_MS.
 */

import { LEASE_MS, setSweepAlarm } from "./sweep-alarm.ts";

/** `until_ms` of a key that cannot be renewed or claimed any more, so that its blob may be deleted. */
const OVER = 0;
/** The most keys that one call to R2 can delete. */
const MAX_KEYS = 1000;
/** Pause after a sweep in which R2 failed. */
const RETRY_MS = 60_000;

export class LooseKeys {
  readonly #storage: DurableObjectStorage;
  readonly #bucket: R2Bucket;

  constructor(storage: DurableObjectStorage, bucket: R2Bucket) {
    this.#storage = storage;
    this.#bucket = bucket;
  }

  /** Adds the key of an upload, before it begins. */
  async enter(key: string): Promise<void> {
    this.#storage.sql.exec(
      "INSERT INTO loose_keys (key, until_ms) VALUES (?, ?)",
      key,
      Date.now() + LEASE_MS,
    );
    await setSweepAlarm(this.#storage);
  }

  /** The upload is still in progress. */
  renew(key: string): void {
    this.#storage.sql.exec(
      `UPDATE loose_keys SET until_ms = ? WHERE key = ? AND until_ms > ${OVER}`,
      Date.now() + LEASE_MS,
      key,
    );
  }

  /** The blob is written, and gets an owner in this transaction; false if the key's lease had ended. */
  claim(key: string): boolean {
    const claimed = this.#storage.sql.exec(
      `DELETE FROM loose_keys WHERE key = ? AND until_ms > ${OVER} RETURNING key`,
      key,
    );
    return claimed.toArray().length > 0;
  }

  /** The blob has lost its owner, or gets none: it is deleted, now or by an alarm. */
  async release(key: string): Promise<void> {
    this.#storage.sql.exec(
      `INSERT OR REPLACE INTO loose_keys (key, until_ms) VALUES (?, ${OVER})`,
      key,
    );
    await setSweepAlarm(this.#storage);
    await this.sweep();
  }

  /** Deletes the blobs whose leases have ended. Idempotent, also if interrupted. */
  async sweep(): Promise<void> {
    const { sql } = this.#storage;
    // From here on nobody can claim these keys, so none gets an owner while its blob is deleted.
    sql.exec(
      `UPDATE loose_keys SET until_ms = ${OVER} WHERE until_ms <= ?`,
      Date.now(),
    );
    const rows = sql.exec<{ key: string }>(
      `SELECT key FROM loose_keys WHERE until_ms = ${OVER} LIMIT ${MAX_KEYS}`,
    );
    const keys = Array.from(rows, ({ key }) => key);
    try {
      if (keys.length > 0) await this.#bucket.delete(keys);
    } catch (error) {
      console.warn(error);
      await this.#storage.setAlarm(Date.now() + RETRY_MS);
      return;
    }
    for (const key of keys)
      sql.exec("DELETE FROM loose_keys WHERE key = ?", key);
    await setSweepAlarm(this.#storage);
  }
}
