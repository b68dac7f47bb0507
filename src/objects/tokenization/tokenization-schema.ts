/** The tables of a tokenization, version by version. */
import { Schema } from "../platform/schema.ts";

export const TOKENIZATION_SCHEMA = new Schema("work", [
  (sql) =>
    sql.exec(`
      CREATE TABLE work (id INTEGER PRIMARY KEY CHECK (id = 0), work TEXT NOT NULL);
      CREATE TABLE bytes (owner TEXT, row INTEGER, value BLOB, PRIMARY KEY (owner, row));
    `),
]);
