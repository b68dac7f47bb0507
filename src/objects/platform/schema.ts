/**
 * What an object has on disk carries a version: its tables, and the configs and requests in them. What an
 * earlier version of this code left is brought up to date at first use, in one transaction; what a
 * later one left is refused, since nobody here knows what it means.
 */
import { AppError } from "../../api/errors.ts";

/** Brings tables from one version to the next. */
type Step = (sql: SqlStorage) => void;

export class Schema {
  readonly #marker: string;
  readonly #steps: readonly Step[];

  /**
   * `steps` in order: the first makes the tables of version 1. State was given a version with the
   * second release; before, it is told by the table `marker`, and is of version 1.
   */
  constructor(marker: string, steps: readonly Step[]) {
    this.#marker = marker;
    this.#steps = steps;
  }

  /** The version of what this code writes. */
  get version(): number {
    return this.#steps.length;
  }

  /** Whether there is state; it is of this version then. Errors: `state_version`, it is of a later one */
  open(storage: DurableObjectStorage): boolean {
    const { sql } = storage;
    const { version, isNoted } = this.#versionOf(sql);
    if (version === 0) return false;
    if (version > this.version) {
      throw new AppError(
        "state_version",
        `Expected state of at most version ${this.version}, got version ${version}, which a later release of mxfp4-edge wrote: deploy that one`,
      );
    }
    if (version < this.version || !isNoted)
      storage.transactionSync(() => this.#climb(sql, version));
    return true;
  }

  /** `open`, and make the tables where there are none. Errors: `state_version` */
  ensure(storage: DurableObjectStorage): void {
    if (!this.open(storage))
      storage.transactionSync(() => this.create(storage.sql));
  }

  /** Make the tables. Called inside a transaction. */
  create(sql: SqlStorage): void {
    this.#climb(sql, 0);
  }

  #climb(sql: SqlStorage, from: number): void {
    for (const step of this.#steps.slice(from)) step(sql);
    sql.exec("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL)");
    sql.exec("DELETE FROM schema");
    sql.exec("INSERT INTO schema VALUES (?)", this.version);
  }

  /** 0 when there is nothing; the first release did not note it. */
  #versionOf(sql: SqlStorage): { version: number; isNoted: boolean } {
    const names = sql.exec<{ name: string }>(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('schema', ?)",
      this.#marker,
    );
    const found = new Set(Array.from(names, ({ name }) => name));
    if (found.has("schema")) {
      const { version } = sql
        .exec<{ version: number }>("SELECT version FROM schema")
        .one();
      return { version, isNoted: true };
    }
    return { version: found.has(this.#marker) ? 1 : 0, isNoted: false };
  }
}

/** Of a run that an earlier release began, where that matters. */
export function outdatedRun(): AppError {
  return new AppError(
    "state_version",
    "Expected a run that this release of mxfp4-edge can go on with, got one of an earlier release, whose parameters lie in another order: remove it, and begin it anew",
  );
}
