/**
 * Keys of the bucket that no entry of the directory has: of uploads under way, and of what was removed.
 * A key is entered before its blob is put, and leaves in the transaction that enters what owns it; so
 * whatever dies in between, the blob goes once nobody has renewed its key for LEASE_MS.
 */

import { LEASE_MS, setSweepAlarm } from "./sweep-alarm.ts";

/** Of a lease that is over for good: the blob may go, and the key cannot be renewed or claimed. */
const OVER = 0;
/** How many keys one call to R2 may delete. */
const MAX_KEYS = 1000;
/** After a sweep that the bucket did not allow. */
const RETRY_MS = 60_000;

export class LooseKeys {
  readonly #storage: DurableObjectStorage;
  readonly #bucket: R2Bucket;

  constructor(storage: DurableObjectStorage, bucket: R2Bucket) {
    this.#storage = storage;
    this.#bucket = bucket;
  }

  /** Enter the key of an upload, before it begins. */
  async enter(key: string): Promise<void> {
    this.#storage.sql.exec(
      "INSERT INTO loose_keys (key, until_ms) VALUES (?, ?)",
      key,
      Date.now() + LEASE_MS,
    );
    await setSweepAlarm(this.#storage);
  }

  /** The upload goes on. */
  renew(key: string): void {
    this.#storage.sql.exec(
      `UPDATE loose_keys SET until_ms = ? WHERE key = ? AND until_ms > ${OVER}`,
      Date.now() + LEASE_MS,
      key,
    );
  }

  /** The blob is there, and gets an owner in this transaction; false when its lease was over. */
  claim(key: string): boolean {
    const claimed = this.#storage.sql.exec(
      `DELETE FROM loose_keys WHERE key = ? AND until_ms > ${OVER} RETURNING key`,
      key,
    );
    return claimed.toArray().length > 0;
  }

  /** The blob has no owner any more, or shall have none: it goes, now or by an alarm. */
  async release(key: string): Promise<void> {
    this.#storage.sql.exec(
      `INSERT OR REPLACE INTO loose_keys (key, until_ms) VALUES (?, ${OVER})`,
      key,
    );
    await setSweepAlarm(this.#storage);
    await this.sweep();
  }

  /** Delete the blobs whose leases are over. Repeating it, also half done, does no harm. */
  async sweep(): Promise<void> {
    const { sql } = this.#storage;
    // From here on nobody can claim them, so none of them gets an owner while it is deleted.
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
