/** A shard's state on disk: the latest snapshot, the updates applied since, and earlier snapshots that are kept. */
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

/** `step` is the step that the snapshot's parameters belong to; version 0 is the initial state. */
export type SnapshotPointer = { version: number; step: number };

/**
 * Rows of a new version are written beside those of the old one; the pointer's move, and the removal
 * of what nobody needs any longer, belong to the same transaction.
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

  /** The pointer's state; undefined when that is the initial one, which is stored nowhere. */
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

  /** A new version, and the end of what it replaces and of the updates it contains. In a transaction. */
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

  /** The steps of the snapshots that are there, in order. */
  steps(): number[] {
    return Array.from(
      this.#sql.exec<{ step: number }>("SELECT step FROM states ORDER BY step"),
      ({ step }) => step,
    );
  }

  /** One row of a snapshot that is there. */
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

  /** The snapshot of `step` is the latest again, or the initial state where there is none. In a transaction. */
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

  /** What no step has any longer. */
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
