/**
 * Which datasets and which runs exist. One object in all, so that "no run uses this dataset" and
 * "this dataset may go" are decided in one place.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError } from "../api/errors.ts";
import type { Dataset, RunSummary } from "../api/types.ts";
import type { ObjectBindings } from "./bindings.ts";
import { jsonCalls, type JsonStub, jsonStub } from "./json-calls.ts";

/** A dataset, and the R2 key of its tokens. */
export type StoredDataset = Dataset & { key: string };

export class Directory extends DurableObject {
  readonly #calls = jsonCalls(this.ctx, directoryMethods(this.ctx.storage.sql));

  override fetch(request: Request): Promise<Response> {
    return this.#calls.fetch(request);
  }
}

export function directoryStub(
  bindings: Pick<ObjectBindings, "DIRECTORY">,
): JsonStub<ReturnType<typeof directoryMethods>> {
  return jsonStub(bindings.DIRECTORY, "directory");
}

function directoryMethods(sql: SqlStorage) {
  sql.exec(`
    CREATE TABLE IF NOT EXISTS datasets (name TEXT PRIMARY KEY, dataset TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS runs (
      run TEXT PRIMARY KEY, dataset TEXT NOT NULL, ended INTEGER NOT NULL, created_ms INTEGER NOT NULL
    );
  `);

  function find(name: string): StoredDataset | undefined {
    const [row] = sql.exec<{ dataset: string }>(
      "SELECT dataset FROM datasets WHERE name = ?",
      name,
    );
    return row && (JSON.parse(row.dataset) as StoredDataset);
  }

  function dataset(name: string): StoredDataset {
    const found = find(name);
    if (found) return found;
    throw new AppError(
      "dataset_not_found",
      `Expected the name of a dataset, got "${name}"`,
    );
  }

  return {
    /** Errors: `dataset_not_found` */
    dataset,

    /** The dataset of this name, or null. */
    findDataset: (name: string): StoredDataset | null => find(name) ?? null,

    /** Enter a dataset whose tokens are stored. The same content again keeps the first entry. */
    addDataset(entry: StoredDataset): {
      created: boolean;
      dataset: StoredDataset;
    } {
      const present = find(entry.name);
      if (!present) {
        sql.exec(
          "INSERT INTO datasets VALUES (?, ?)",
          entry.name,
          JSON.stringify(entry),
        );
        return { created: true, dataset: entry };
      }
      if (present.digest === entry.digest) {
        return { created: false, dataset: present };
      }
      throw new AppError(
        "dataset_differs",
        `Expected the content that "${entry.name}" already has, SHA-256 ${present.digest}; got ${entry.digest}`,
      );
    },

    /** Errors: `dataset_not_found`, `dataset_in_use` while a run that has not ended pins it */
    removeDataset(name: string): StoredDataset {
      const removed = dataset(name);
      const [user] = sql.exec<{ run: string }>(
        "SELECT run FROM runs WHERE dataset = ? AND ended = 0 LIMIT 1",
        name,
      );
      if (user) {
        throw new AppError(
          "dataset_in_use",
          `Expected a dataset that no unfinished run uses, got "${name}", which run "${user.run}" uses`,
        );
      }
      sql.exec("DELETE FROM datasets WHERE name = ?", name);
      return removed;
    },

    /** Enter a run and pin its dataset. Repeating it changes nothing. */
    addRun(run: string, pinned: Dataset, createdMs: number): void {
      const present = dataset(pinned.name);
      if (present.digest !== pinned.digest) {
        throw new AppError(
          "dataset_differs",
          `Expected "${pinned.name}" with SHA-256 ${pinned.digest}, got ${present.digest}`,
        );
      }
      sql.exec(
        "INSERT INTO runs VALUES (?, ?, 0, ?) ON CONFLICT DO NOTHING",
        run,
        pinned.name,
        createdMs,
      );
    },

    /** The run no longer pins its dataset. */
    endRun(run: string): void {
      sql.exec("UPDATE runs SET ended = 1 WHERE run = ?", run);
    },

    removeRun(run: string): void {
      sql.exec("DELETE FROM runs WHERE run = ?", run);
    },

    /** The latest first. */
    runs(): RunSummary[] {
      const rows = sql.exec<{
        run: string;
        dataset: string;
        ended: number;
        created_ms: number;
      }>("SELECT * FROM runs ORDER BY created_ms DESC, run LIMIT 1000");
      return Array.from(rows, (row) => ({
        run: row.run,
        dataset: row.dataset,
        ended: row.ended === 1,
        createdMs: row.created_ms,
      }));
    },
  };
}
