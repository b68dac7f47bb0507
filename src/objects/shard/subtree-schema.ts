/** The tables of a subtree, version by version; those of pushes are the same as a shard's (push-log.ts). */
import { Schema } from "../platform/schema.ts";

export const SUBTREE_SCHEMA = new Schema("subtree", [
  (sql) =>
    sql.exec(`
      CREATE TABLE subtree (facts TEXT NOT NULL);
      CREATE TABLE pushes (
        step INTEGER, microbatch INTEGER, variant INTEGER, digest TEXT NOT NULL,
        PRIMARY KEY (step, microbatch, variant)
      ) WITHOUT ROWID;
      CREATE TABLE push_authors (
        step INTEGER, microbatch INTEGER, author TEXT, variant INTEGER NOT NULL,
        PRIMARY KEY (step, microbatch, author)
      ) WITHOUT ROWID;
      CREATE TABLE slices (
        step INTEGER, microbatch INTEGER, variant INTEGER, slice INTEGER, payload BLOB NOT NULL,
        PRIMARY KEY (step, microbatch, variant, slice)
      );
    `),
]);
