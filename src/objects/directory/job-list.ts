/** The jobs that exist, for listing. Each job's own object knows its request and state. */
export type JobEntry = { job: string; createdMs: number };

export class JobList {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Idempotent. */
  add({ job, createdMs }: JobEntry): void {
    this.#sql.exec(
      "INSERT INTO jobs VALUES (?, ?) ON CONFLICT DO UPDATE SET created_ms = excluded.created_ms",
      job,
      createdMs,
    );
  }

  remove(job: string): void {
    this.#sql.exec("DELETE FROM jobs WHERE job = ?", job);
  }

  /**
   * Newest first, those after `after` if given. `after` is a position, so pages stay consistent when jobs come and
   * go.
   */
  page(limit: number, after: JobEntry | null): JobEntry[] {
    const { job, createdMs } = after ?? {
      job: "",
      createdMs: Number.MAX_SAFE_INTEGER,
    };
    const rows = this.#sql.exec<{ job: string; created_ms: number }>(
      "SELECT * FROM jobs WHERE (created_ms, job) < (?, ?) ORDER BY created_ms DESC, job DESC LIMIT ?",
      createdMs,
      job,
      limit,
    );
    return Array.from(rows, (row) => ({
      job: row.job,
      createdMs: row.created_ms,
    }));
  }
}
