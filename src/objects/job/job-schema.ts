/** The tables of a job, version by version. */
import { Schema } from "../platform/schema.ts";

export const JOB_SCHEMA = new Schema("job", [
  (sql) =>
    sql.exec(`
      CREATE TABLE job (id INTEGER PRIMARY KEY CHECK (id = 0), job TEXT, position TEXT, removal TEXT);
      CREATE TABLE bytes (owner INTEGER, row INTEGER, value BLOB, PRIMARY KEY (owner, row));
      CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER, text TEXT);
    `),
]);
