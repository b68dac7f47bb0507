/** Parameters of one step set aside, so that a checkpoint can be read while training goes on. */
import { toRows } from "./vector-rows.ts";

/** Two readers at different steps can go on side by side; a third ends the oldest. */
const MAX_PINS = 2;

export class PinnedParameters {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  has(step: number): boolean {
    return (
      [...this.#sql.exec("SELECT 1 FROM pins WHERE step = ? LIMIT 1", step)]
        .length > 0
    );
  }

  /** Called inside a transaction. */
  write(step: number, parameters: Float32Array<ArrayBuffer>): void {
    for (const { row, bytes } of toRows(parameters)) {
      this.#sql.exec("INSERT INTO pins VALUES (?, ?, ?)", step, row, bytes);
    }
    this.#sql.exec(
      "DELETE FROM pins WHERE step NOT IN (SELECT DISTINCT step FROM pins ORDER BY step DESC LIMIT ?)",
      MAX_PINS,
    );
  }

  /** One row of at most 1 MiB; undefined past the end, or when the step is not pinned. */
  row(step: number, row: number): Uint8Array | undefined {
    const [found] = this.#sql.exec<{ value: ArrayBuffer }>(
      "SELECT value FROM pins WHERE step = ? AND row = ?",
      step,
      row,
    );
    return found && new Uint8Array(found.value);
  }
}
