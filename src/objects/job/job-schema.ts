/** The tables of a job, version by version. */
import { Schema } from "../platform/schema.ts";

/** The fields of a request that the migrations below use, with the options of that time. */
type Stored = {
  state: string;
  request: { operation: string; options?: Record<string, unknown> };
};

export const JOB_SCHEMA = new Schema("job", [
  (sql) =>
    sql.exec(`
      CREATE TABLE job (id INTEGER PRIMARY KEY CHECK (id = 0), job TEXT, position TEXT, removal TEXT);
      CREATE TABLE bytes (owner INTEGER, row INTEGER, value BLOB, PRIMARY KEY (owner, row));
      CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER, text TEXT);
    `),

  // The default scale rule changed: a job in progress keeps the earlier one.
  (sql) => {
    for (const { job } of sql.exec<{ job: string }>("SELECT job FROM job")) {
      const stored = JSON.parse(job) as Stored;
      const { operation, options = {} } = stored.request;
      const isUnderWay = stored.state === "running" && operation === "quantize";
      const isTold =
        options.scale !== undefined || options.preset !== undefined;
      if (!isUnderWay || isTold || options.rounding === "stochastic") continue;
      stored.request.options = { ...options, scale: "floor" };
      sql.exec("UPDATE job SET job = ?", JSON.stringify(stored));
    }
  },

  // A job reads a list of files instead of one, and writes one of several.
  (sql) => {
    sql.exec(
      "CREATE TABLE digests (name TEXT PRIMARY KEY, digest TEXT NOT NULL)",
    );
    sql.exec(`
      UPDATE job SET job = json_remove(json_set(job,
        '$.isFolder', json('false'),
        '$.files', json_array(json_set(json_extract(job, '$.file'), '$.name', json_extract(job, '$.request.source'))),
        '$.output', 0,
        '$.uploadName', json_extract(job, '$.result'),
        '$.digests', NULL,
        '$.earlier', json('{"inputBytes":0,"outputBytes":0}')
      ), '$.file')
    `);
  },
]);
