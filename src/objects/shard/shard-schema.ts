/** The tables of a shard, version by version. */
import { Schema } from "../platform/schema.ts";
import { keepMomentsByGroup } from "./moments-by-group.ts";

export const SHARD_SCHEMA = new Schema("shard", [
  (sql) =>
    sql.exec(`
      CREATE TABLE shard (shard INTEGER NOT NULL, config TEXT NOT NULL, ended INTEGER NOT NULL);
      CREATE TABLE pushes (
        step INTEGER, microbatch INTEGER, digest TEXT NOT NULL,
        PRIMARY KEY (step, microbatch)
      ) WITHOUT ROWID;
      CREATE TABLE slices (
        step INTEGER, microbatch INTEGER, slice INTEGER, payload BLOB NOT NULL,
        PRIMARY KEY (step, microbatch, slice)
      );
      CREATE TABLE snapshot_pointer (version INTEGER NOT NULL, step INTEGER NOT NULL);
      INSERT INTO snapshot_pointer VALUES (0, 0);
      CREATE TABLE snapshots (
        version INTEGER, part TEXT, row INTEGER, value BLOB NOT NULL,
        PRIMARY KEY (version, part, row)
      );
      CREATE TABLE updates (
        step INTEGER PRIMARY KEY, clip_coefficient REAL NOT NULL, learning_rate REAL NOT NULL
      );
      CREATE TABLE pins (
        step INTEGER, row INTEGER, value BLOB NOT NULL, PRIMARY KEY (step, row)
      );
    `),

  // As in run-schema.ts: existing shards have their parameters in another order, and other ranges.
  (sql) =>
    sql.exec(
      `ALTER TABLE shard ADD COLUMN outdated INTEGER NOT NULL DEFAULT 0;
       UPDATE shard SET outdated = 1;
       ALTER TABLE updates RENAME COLUMN learning_rate TO learning_rates`,
    ),

  keepMomentsByGroup,

  // Until its step is committed, a microbatch may have several different pushes, each with authors. Keys and
  // exclusions come from the run.
  (sql) =>
    sql.exec(
      `ALTER TABLE shard ADD COLUMN creation TEXT;
       ALTER TABLE shard ADD COLUMN secret TEXT;
       CREATE TABLE excluded (author TEXT PRIMARY KEY) WITHOUT ROWID;
       CREATE TABLE variants (
         step INTEGER, microbatch INTEGER, variant INTEGER, digest TEXT NOT NULL,
         PRIMARY KEY (step, microbatch, variant)
       ) WITHOUT ROWID;
       INSERT INTO variants SELECT step, microbatch, 0, digest FROM pushes;
       DROP TABLE pushes;
       ALTER TABLE variants RENAME TO pushes;
       CREATE TABLE push_authors (
         step INTEGER, microbatch INTEGER, author TEXT, variant INTEGER NOT NULL,
         PRIMARY KEY (step, microbatch, author)
       ) WITHOUT ROWID;
       CREATE TABLE parts (
         step INTEGER, microbatch INTEGER, variant INTEGER, slice INTEGER, payload BLOB NOT NULL,
         PRIMARY KEY (step, microbatch, variant, slice)
       );
       INSERT INTO parts SELECT step, microbatch, 0, slice, payload FROM slices;
       DROP TABLE slices;
       ALTER TABLE parts RENAME TO slices`,
    ),

  // Moments are pinned too. A checkpoint being read must be requested again.
  (sql) =>
    sql.exec(
      `DROP TABLE pins;
       CREATE TABLE pins (
         step INTEGER, part TEXT, row INTEGER, value BLOB NOT NULL,
         PRIMARY KEY (step, part, row)
       )`,
    ),

  // A config's model may name its architecture; an earlier release would take it for a GPT-2.
  () => {},

  // Some earlier snapshots are kept: their steps.
  (sql) =>
    sql.exec(
      `CREATE TABLE states (step INTEGER PRIMARY KEY, version INTEGER NOT NULL);
       INSERT INTO states SELECT step, version FROM snapshot_pointer WHERE version > 0`,
    ),

  // How often the run was rewound: earlier leases cannot pull any more.
  (sql) =>
    sql.exec("ALTER TABLE shard ADD COLUMN rewinds INTEGER NOT NULL DEFAULT 0"),

  // A log may contain sums of subtrees; an earlier release would take them for pushes.
  () => {},
]);
