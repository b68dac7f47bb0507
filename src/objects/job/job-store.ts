/** A job's storage: the job, its position, and bytes that are nowhere else. */
import type { SavedConversion } from "../../formats/stream/conversion.ts";
import { readBytes, writeBytes } from "../platform/stored-bytes.ts";
import type { StoredJob } from "./job-record.ts";
import { JOB_SCHEMA } from "./job-schema.ts";

const MAX_LOG_LINES = 100;

/** What is to be removed: the job alone, or its result too. */
export type Removal = "job" | "job and result";

/** Owner id of the bytes that are in no part yet; those held by the conversion have ids from 0. */
const TAIL = -1;

/** The position of the work between two alarms. */
export type Position = {
  saved: SavedConversion;
  tail: Uint8Array<ArrayBuffer>;
};

export class JobStore {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  /** Only this creates the tables, so that asking for an unknown job stores nothing. */
  create(): void {
    const { sql } = this.#storage;
    this.#storage.transactionSync(() => JOB_SCHEMA.create(sql));
  }

  load(): StoredJob | undefined {
    const row = this.#row();
    return row && (JSON.parse(row.job) as StoredJob);
  }

  /** Stored separately, so that a step in progress, which writes the job, cannot overwrite it. */
  get removal(): Removal | null {
    return this.#row()?.removal ?? null;
  }

  markRemoval(removal: Removal): void {
    this.#storage.sql.exec("UPDATE job SET removal = ?", removal);
  }

  #row(): { job: string; removal: Removal | null } | undefined {
    if (!JOB_SCHEMA.open(this.#storage)) return undefined;
    const [row] = this.#storage.sql.exec<{
      job: string;
      removal: Removal | null;
    }>("SELECT job, removal FROM job");
    return row;
  }

  /** Stores the job and, in the same transaction, its position if given; null deletes the position. */
  save(job: StoredJob, position?: Position | null): void {
    const { sql } = this.#storage;
    this.#storage.transactionSync(() => {
      sql.exec(
        "INSERT INTO job VALUES (0, ?, NULL, NULL) ON CONFLICT DO UPDATE SET job = excluded.job",
        JSON.stringify(job),
      );
      if (position === null) this.#forgetPosition();
      if (!position) return;
      const { held, ...rest } = position.saved;
      sql.exec("DELETE FROM bytes");
      writeBytes(sql, TAIL, position.tail);
      for (const { hold, bytes } of held) writeBytes(sql, hold, bytes);
      const holds = held.map(({ hold }) => hold);
      sql.exec("UPDATE job SET position = ?", JSON.stringify({ rest, holds }));
    });
  }

  #forgetPosition(): void {
    this.#storage.sql.exec("UPDATE job SET position = NULL");
    this.#storage.sql.exec("DELETE FROM bytes");
  }

  /** Digests of the result's tensors, by name. */
  digests(): Map<string, string> {
    const rows = this.#storage.sql.exec<{ name: string; digest: string }>(
      "SELECT name, digest FROM digests",
    );
    return new Map(Array.from(rows, ({ name, digest }) => [name, digest]));
  }

  /** Idempotent. */
  addDigest(name: string, digest: string): void {
    this.#storage.sql.exec(
      "INSERT OR REPLACE INTO digests VALUES (?, ?)",
      name,
      digest,
    );
  }

  position(): Position | undefined {
    const { sql } = this.#storage;
    const [row] = sql.exec<{ position: string | null }>(
      "SELECT position FROM job",
    );
    if (!row?.position) return undefined;
    const { rest, holds } = JSON.parse(row.position) as {
      rest: Omit<SavedConversion, "held">;
      holds: number[];
    };
    const held = holds.map((hold) => ({ hold, bytes: readBytes(sql, hold) }));
    return { saved: { ...rest, held }, tail: readBytes(sql, TAIL) };
  }

  log(text: string): void {
    const { sql } = this.#storage;
    const time = Date.now();
    sql.exec("INSERT INTO log (time_ms, text) VALUES (?, ?)", time, text);
    sql.exec(
      "DELETE FROM log WHERE id <= (SELECT MAX(id) FROM log) - ?",
      MAX_LOG_LINES,
    );
  }

  lines(): { timeMs: number; text: string }[] {
    const rows = this.#storage.sql.exec<{ time_ms: number; text: string }>(
      "SELECT time_ms, text FROM log ORDER BY id",
    );
    return Array.from(rows, ({ time_ms, text }) => ({ timeMs: time_ms, text }));
  }
}
