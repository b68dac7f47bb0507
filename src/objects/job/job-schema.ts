/** The tables of a job, version by version. */
import { Schema } from "../platform/schema.ts";

/** A request, as far as steps know it: options are as they were when it was made. */
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

  // The scale rule that is taken unless told became another: one that is under way keeps its own.
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

  // What was one file is a list of them, and a file that is written one of several.
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
