/** Which jobs exist, for lists of them. What a job is and where it stands, its own object knows. */
export type JobEntry = { job: string; createdMs: number };

export class JobList {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Repeating it changes nothing. */
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

  /** The newest first, behind `after` if it is told: a place, which is the same whatever comes and goes. */
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
