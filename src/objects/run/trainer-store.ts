/** A run's trainers, in SQLite. */
import type { HostKind, TrainerStatus } from "../../api/run-status.ts";
import type { Usual } from "./pace.ts";

export type TrainerRecord = TrainerStatus & {
  bootId: string;
  usual: Usual;
  /** Consecutive leases that it let lapse. */
  lapses: number;
};

export class TrainerStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  all(): TrainerRecord[] {
    const rows = this.#sql.exec<{
      name: string;
      boot_id: string;
      last_seen_ms: number;
      completions: number;
      usual: string;
      lapses: number;
      author: string;
      host: HostKind | null;
    }>("SELECT * FROM trainers ORDER BY name");
    return Array.from(rows, (row) => ({
      name: row.name,
      bootId: row.boot_id,
      lastSeenMs: row.last_seen_ms,
      completions: row.completions,
      usual: JSON.parse(row.usual) as Usual,
      lapses: row.lapses,
      author: row.author,
      host: row.host,
    }));
  }

  put(trainer: TrainerRecord): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO trainers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      trainer.name,
      trainer.bootId,
      trainer.lastSeenMs,
      trainer.completions,
      JSON.stringify(trainer.usual),
      trainer.lapses,
      trainer.author,
      trainer.host,
    );
  }

  remove(name: string): void {
    this.#sql.exec("DELETE FROM trainers WHERE name = ?", name);
  }
}
