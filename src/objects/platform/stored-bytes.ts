/** Bytes in SQLite, by owner: rows of a table `bytes`. */
import { free } from "../../memory/free.ts";

/** SQLite rows are limited to 2 MB. */
const ROW_BYTES = 1024 * 1024;

/** Called inside a transaction. */
export function writeBytes(
  sql: SqlStorage,
  owner: number | string,
  bytes: Uint8Array,
): void {
  for (let row = 0; row * ROW_BYTES < bytes.length; row++) {
    sql.exec(
      "INSERT INTO bytes VALUES (?, ?, ?)",
      owner,
      row,
      bytes.subarray(row * ROW_BYTES, (row + 1) * ROW_BYTES),
    );
  }
}

/** Reads row by row into one buffer, so that nothing else is in memory. */
export function readBytes(
  sql: SqlStorage,
  owner: number | string,
): Uint8Array<ArrayBuffer> {
  const { length } = sql
    .exec<{ length: number }>(
      "SELECT COALESCE(SUM(LENGTH(value)), 0) AS length FROM bytes WHERE owner = ?",
      owner,
    )
    .one();
  const whole = new Uint8Array(length);
  for (const { row, value } of sql.exec<{ row: number; value: ArrayBuffer }>(
    "SELECT row, value FROM bytes WHERE owner = ?",
    owner,
  )) {
    const bytes = new Uint8Array(value);
    whole.set(bytes, row * ROW_BYTES);
    free(bytes);
  }
  return whole;
}
