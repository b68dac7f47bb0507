/** The tables of a run, version by version. */
import { Schema } from "../platform/schema.ts";

export const RUN_SCHEMA = new Schema("run", [
  (sql) =>
    sql.exec(`
      CREATE TABLE run (
        run TEXT, config TEXT, state TEXT, step INTEGER, fingerprint TEXT, created_ms INTEGER,
        initialized INTEGER, settled INTEGER
      );
      CREATE TABLE completions (
        kind TEXT, step INTEGER, microbatch INTEGER, loss_sum REAL, tokens INTEGER,
        PRIMARY KEY (kind, step, microbatch)
      ) WITHOUT ROWID;
      CREATE TABLE commits (
        step INTEGER PRIMARY KEY, clip_coefficient REAL, learning_rate REAL, grad_norm REAL,
        train_loss REAL, tokens INTEGER, committed_ms INTEGER
      );
      CREATE TABLE evaluations (step INTEGER PRIMARY KEY, loss REAL, time_ms INTEGER);
      CREATE TABLE trainers (
        name TEXT PRIMARY KEY, boot_id TEXT, last_seen_ms INTEGER, completions INTEGER
      );
      CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER, event TEXT);
    `),

  // Matrices come first in the flat vector. Existing runs have their parameters in another order: they are ended, and
  // only their history is kept. Updates have a rate for each group, as JSON; the rate of earlier ones is that of
  // matrices.
  (sql) => {
    sql.exec(
      `ALTER TABLE run ADD COLUMN outdated INTEGER NOT NULL DEFAULT 0;
       UPDATE run SET outdated = 1;
       ALTER TABLE commits ADD COLUMN learning_rates TEXT`,
    );
    const ended = sql.exec(
      "UPDATE run SET state = 'cancelled' WHERE state IN ('running', 'paused') RETURNING run",
    );
    if (ended.toArray().length === 0) return;
    sql.exec(
      "INSERT INTO events (time_ms, event) VALUES (?, ?)",
      Date.now(),
      JSON.stringify({ type: "state", state: "cancelled" }),
    );
  },

  // Losses in nats per byte, and the tokenizer of runs whose tokens are not bytes, which did not exist before.
  (sql) =>
    sql.exec(
      `ALTER TABLE completions ADD COLUMN bytes INTEGER;
       UPDATE completions SET bytes = tokens;
       ALTER TABLE commits ADD COLUMN train_nats_per_byte REAL;
       UPDATE commits SET train_nats_per_byte = train_loss;
       ALTER TABLE evaluations ADD COLUMN nats_per_byte REAL;
       UPDATE evaluations SET nats_per_byte = loss;
       CREATE TABLE tokenizer (json TEXT NOT NULL)`,
    ),

  // Each trainer's usual times; the event log is bounded by kind.
  (sql) =>
    sql.exec(
      `ALTER TABLE trainers ADD COLUMN usual TEXT NOT NULL DEFAULT '{}';
       ALTER TABLE trainers ADD COLUMN lapses INTEGER NOT NULL DEFAULT 0;
       ALTER TABLE events ADD COLUMN type TEXT;
       UPDATE events SET type = json_extract(event, '$.type');
       CREATE INDEX events_by_type ON events (type, id)`,
    ),

  // Results have authors, several per microbatch, and leases have keys, which shards receive again. Results of the
  // present step have no digests, so it is computed again.
  (sql) =>
    sql.exec(
      `ALTER TABLE run ADD COLUMN creation TEXT NOT NULL DEFAULT '';
       ALTER TABLE run ADD COLUMN secret TEXT NOT NULL DEFAULT '';
       ALTER TABLE run ADD COLUMN fingerprint_by TEXT;
       UPDATE run SET creation = lower(hex(randomblob(6))), secret = lower(hex(randomblob(32)));
       UPDATE run SET initialized = 0 WHERE settled = 0;
       CREATE TABLE ballots (
         kind TEXT, step INTEGER, microbatch INTEGER, author TEXT, loss_sum REAL, tokens INTEGER,
         bytes INTEGER, digests TEXT NOT NULL, required INTEGER NOT NULL,
         PRIMARY KEY (kind, step, microbatch, author)
       ) WITHOUT ROWID;
       INSERT INTO ballots SELECT kind, step, microbatch, '', loss_sum, tokens, bytes, '', 1
         FROM completions
        WHERE step < (SELECT step FROM run) OR step IN (SELECT step FROM commits);
       DROP TABLE completions;
       ALTER TABLE commits ADD COLUMN results TEXT;
       ALTER TABLE commits ADD COLUMN chain TEXT;
       ALTER TABLE trainers ADD COLUMN author TEXT NOT NULL DEFAULT '';
       CREATE TABLE authors (
         author TEXT PRIMARY KEY, issued_ms INTEGER, expires_ms INTEGER, state TEXT NOT NULL,
         is_told INTEGER NOT NULL
       )`,
    ),

  // Times reported by trainers.
  (sql) =>
    sql.exec(
      `ALTER TABLE ballots ADD COLUMN phases TEXT;
       ALTER TABLE commits ADD COLUMN phases TEXT`,
    ),

  // A config's model may name its architecture; an earlier release would take it for a GPT-2.
  () => {},

  // The kind of host that trainers report.
  (sql) => sql.exec("ALTER TABLE trainers ADD COLUMN host TEXT"),

  // How often the run was rewound, and the step to which it is being rewound.
  (sql) =>
    sql.exec(
      `ALTER TABLE run ADD COLUMN rewinds INTEGER NOT NULL DEFAULT 0;
       ALTER TABLE run ADD COLUMN rewind_to INTEGER`,
    ),

  // Which results were asked for, and the seed of that draw.
  (sql) =>
    sql.exec(
      `ALTER TABLE ballots ADD COLUMN counts INTEGER NOT NULL DEFAULT 1;
       ALTER TABLE ballots ADD COLUMN seed REAL`,
    ),

  // The run's display name.
  (sql) => sql.exec("ALTER TABLE run ADD COLUMN name TEXT"),

  // How often an author was excluded.
  (sql) =>
    sql.exec(
      "ALTER TABLE authors ADD COLUMN exclusions INTEGER NOT NULL DEFAULT 0",
    ),
]);
