/** The tables of the directory, version by version. */
import { Schema } from "../platform/schema.ts";

export const DIRECTORY_SCHEMA = new Schema("datasets", [
  (sql) =>
    sql.exec(`
      CREATE TABLE loose_keys (key TEXT PRIMARY KEY, until_ms INTEGER NOT NULL);
      CREATE TABLE jobs (job TEXT PRIMARY KEY, created_ms INTEGER NOT NULL);
      CREATE INDEX jobs_by_time ON jobs (created_ms, job);
      CREATE TABLE datasets (name TEXT PRIMARY KEY, dataset TEXT NOT NULL);
      CREATE TABLE runs (
        run TEXT PRIMARY KEY, dataset TEXT NOT NULL, ended INTEGER NOT NULL, created_ms INTEGER NOT NULL
      );
    `),

  (sql) =>
    sql.exec(
      "CREATE TABLE uploads (upload_id TEXT PRIMARY KEY, key TEXT NOT NULL, until_ms INTEGER NOT NULL)",
    ),

  (sql) =>
    sql.exec(`
      CREATE TABLE file_uploads (
        upload_id TEXT PRIMARY KEY, file TEXT NOT NULL, upload TEXT NOT NULL, bytes INTEGER NOT NULL,
        part_bytes INTEGER NOT NULL, mark TEXT NOT NULL, UNIQUE (file, upload)
      );
      CREATE TABLE file_parts (
        upload_id TEXT NOT NULL, part INTEGER NOT NULL, bytes INTEGER NOT NULL, digest TEXT NOT NULL,
        etag TEXT NOT NULL, PRIMARY KEY (upload_id, part)
      );
    `),

  // Datasets have states and tokenizers; existing ones are ready, and their tokens are bytes.
  (sql) =>
    sql.exec(
      `UPDATE datasets SET dataset = json_set(dataset,
         '$.state', 'ready', '$.bytes', json_extract(dataset, '$.tokens'),
         '$.textDigest', json_extract(dataset, '$.digest'), '$.progress', 1, '$.error', NULL,
         '$.asked', json_extract(dataset, '$.vocabulary'))`,
    ),

  // Runs have names.
  (sql) => sql.exec("ALTER TABLE runs ADD COLUMN name TEXT"),
]);
