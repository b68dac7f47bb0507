/**
 * Versions of an object's storage: of its tables, and of the configs and requests in them. Storage of an earlier
 * version is migrated at first use, in one transaction; storage of a later version is refused, since this code cannot
 * know its meaning.
 */
import { AppError } from "../../api/errors.ts";

/** Migrates from one version to the next. */
type Step = (sql: SqlStorage) => void;

export class Schema {
  readonly #marker: string;
  readonly #steps: readonly Step[];

  /**
   * `steps` in order; the first creates the tables of version 1. The first release stored no version: its storage is
   * recognized by the table `marker`, and is version 1.
   */
  constructor(marker: string, steps: readonly Step[]) {
    this.#marker = marker;
    this.#steps = steps;
  }

  /** The version that this code writes. */
  get version(): number {
    return this.#steps.length;
  }

  /** Returns whether there is storage, migrated to this version. Errors: `state_version` if it has a later one */
  open(storage: DurableObjectStorage): boolean {
    const { sql } = storage;
    const { version, isNoted } = this.#versionOf(sql);
    if (version === 0) return false;
    if (version > this.version) {
      throw new AppError(
        "state_version",
        `Expected state of at most version ${this.version}, got version ${version}, which a later release of mxfp4-edge wrote: deploy that release`,
      );
    }
    if (version < this.version || !isNoted)
      storage.transactionSync(() => this.#climb(sql, version));
    return true;
  }

  /** `open`, and create the tables if there are none. Errors: `state_version` */
  ensure(storage: DurableObjectStorage): void {
    if (!this.open(storage))
      storage.transactionSync(() => this.create(storage.sql));
  }

  /** Creates the tables. Called inside a transaction. */
  create(sql: SqlStorage): void {
    this.#climb(sql, 0);
  }

  #climb(sql: SqlStorage, from: number): void {
    for (const step of this.#steps.slice(from)) step(sql);
    sql.exec("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL)");
    sql.exec("DELETE FROM schema");
    sql.exec("INSERT INTO schema VALUES (?)", this.version);
  }

  /** 0 if there is no storage. `isNoted` is false for the first release, which stored no version. */
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

/** The error for a run of an earlier release that this one cannot continue. */
export function outdatedRun(): AppError {
  return new AppError(
    "state_version",
    "Expected a run that this release of mxfp4-edge can continue, got one of an earlier release, whose parameters are in another order: remove it, and create it again",
  );
}
