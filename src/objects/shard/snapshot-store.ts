/** A shard's state in SQLite: the latest snapshot, the updates applied since, and kept earlier snapshots. */
import type { LearningRates, Update } from "../../training/optimizer.ts";
import {
  type ShardGeometry,
  type ShardState,
  stateOf,
  stateParts,
  vectorsOf,
} from "../../training/shard-state.ts";
import { isKept } from "./kept-states.ts";
import { fromRows, toRows } from "./vector-rows.ts";

/** `step` is the step of the snapshot's parameters; version 0 is the initial state. */
export type SnapshotPointer = { version: number; step: number };

/**
 * Rows of a new version are written beside the old ones, in one transaction with moving the pointer and deleting what
 * is no longer needed.
 */
export class SnapshotStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  pointer(): SnapshotPointer {
    return this.#sql
      .exec<SnapshotPointer>("SELECT version, step FROM snapshot_pointer")
      .one();
  }

  /** The latest snapshot; undefined for the initial state, which is not stored. */
  read(geometry: ShardGeometry): ShardState | undefined {
    const { version } = this.pointer();
    if (version === 0) return undefined;
    const vectors = stateParts(geometry).map(({ name, length }) =>
      fromRows(
        this.#sql.exec<{ value: ArrayBuffer }>(
          "SELECT value FROM snapshots WHERE version = ? AND part = ? ORDER BY row",
          version,
          name,
        ),
        length,
      ),
    );
    return stateOf(geometry, vectors);
  }

  /**
   * Writes a new version, and deletes what it replaces and the updates that it contains. Called inside a transaction.
   */
  write(geometry: ShardGeometry, state: ShardState, step: number): void {
    const version = this.pointer().version + 1;
    const vectors = vectorsOf(state);
    for (const [index, { name }] of stateParts(geometry).entries()) {
      for (const { row, bytes } of toRows(vectors[index]!)) {
        this.#sql.exec(
          "INSERT INTO snapshots VALUES (?, ?, ?, ?)",
          version,
          name,
          row,
          bytes,
        );
      }
    }
    this.#sql.exec("DELETE FROM updates WHERE step < ?", step);
    this.#sql.exec(
      "INSERT OR REPLACE INTO states VALUES (?, ?)",
      step,
      version,
    );
    this.#point({ version, step });
    for (const each of this.steps())
      if (!isKept(geometry, each, step)) this.#forget(each);
    this.#sweep();
  }

  /** The steps of the stored snapshots, in order. */
  steps(): number[] {
    return Array.from(
      this.#sql.exec<{ step: number }>("SELECT step FROM states ORDER BY step"),
      ({ step }) => step,
    );
  }

  /** One row of a stored snapshot. */
  row(step: number, part: string, row: number): Uint8Array | undefined {
    const [found] = this.#sql.exec<{ value: ArrayBuffer }>(
      `SELECT value FROM snapshots
        WHERE version = (SELECT version FROM states WHERE step = ?) AND part = ? AND row = ?`,
      step,
      part,
      row,
    );
    return found && new Uint8Array(found.value);
  }

  /** Makes the snapshot of `step`, or the initial state, the latest again. Called inside a transaction. */
  goBack(step: number): void {
    const [found] = this.#sql.exec<{ version: number }>(
      "SELECT version FROM states WHERE step = ?",
      step,
    );
    for (const each of this.steps()) if (each > step) this.#forget(each);
    this.#sql.exec("DELETE FROM updates");
    this.#point({ version: found?.version ?? 0, step });
    this.#sweep();
  }

  #point({ version, step }: SnapshotPointer): void {
    this.#sql.exec(
      "UPDATE snapshot_pointer SET version = ?, step = ?",
      version,
      step,
    );
  }

  #forget(step: number): void {
    this.#sql.exec("DELETE FROM states WHERE step = ?", step);
  }

  /** Deletes versions that belong to no step. */
  #sweep(): void {
    this.#sql.exec(
      "DELETE FROM snapshots WHERE version NOT IN (SELECT version FROM states)",
    );
  }

  record({ step, clipCoefficient, learningRates }: Update): void {
    this.#sql.exec(
      "INSERT INTO updates VALUES (?, ?, ?)",
      step,
      clipCoefficient,
      JSON.stringify(learningRates),
    );
  }

  /** The updates since the snapshot, in order. */
  updates(): Update[] {
    const rows = this.#sql.exec<{
      step: number;
      clip_coefficient: number;
      learning_rates: string;
    }>("SELECT * FROM updates ORDER BY step");
    return Array.from(rows, (row) => ({
      step: row.step,
      clipCoefficient: row.clip_coefficient,
      learningRates: JSON.parse(row.learning_rates) as LearningRates,
    }));
  }
}
