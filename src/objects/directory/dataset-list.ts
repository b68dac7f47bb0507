/** The datasets that exist, and the progress of those whose tokenizer is being trained. */
import { AppError } from "../../api/errors.ts";
import type { PinnedDataset } from "../../api/dataset.ts";
import type { LooseKeys } from "./loose-keys.ts";
import { keysOf, type StoredDataset } from "./stored-dataset.ts";
import { LEASE_MS } from "./sweep-alarm.ts";

/** The outcome of training a dataset's tokenizer. */
export type Tokenized =
  | Pick<PinnedDataset, "digest" | "tokens" | "vocabulary">
  | { error: NonNullable<StoredDataset["error"]> };

/**
 * What the object that makes a dataset's tokens does next: continue, leave its results to the dataset, or delete
 * them.
 */
export type TokenizingState = "under way" | "over" | "gone";

export class DatasetList {
  readonly #sql: SqlStorage;
  readonly #looseKeys: LooseKeys;

  constructor(sql: SqlStorage, looseKeys: LooseKeys) {
    this.#sql = sql;
    this.#looseKeys = looseKeys;
  }

  find(name: string): StoredDataset | undefined {
    const [row] = this.#sql.exec<{ dataset: string }>(
      "SELECT dataset FROM datasets WHERE name = ?",
      name,
    );
    return row && (JSON.parse(row.dataset) as StoredDataset);
  }

  /** Errors: `dataset_not_found` */
  get(name: string): StoredDataset {
    const found = this.find(name);
    if (found) return found;
    throw new AppError(
      "dataset_not_found",
      `Expected the name of a dataset, got "${name}"`,
    );
  }

  /** In order of name, those after `after`. */
  page(limit: number, after: string): StoredDataset[] {
    const rows = this.#sql.exec<{ dataset: string }>(
      "SELECT dataset FROM datasets WHERE name > ? ORDER BY name LIMIT ?",
      after,
      limit,
    );
    return Array.from(rows, (row) => JSON.parse(row.dataset) as StoredDataset);
  }

  /**
   * Adds a dataset whose text is stored. If the same content is already there, that entry stays; a text without an
   * entry is deleted. Errors: `dataset_differs`, `unavailable`
   */
  async add(
    entry: StoredDataset,
  ): Promise<{ created: boolean; dataset: StoredDataset }> {
    const present = this.find(entry.name);
    if (!present && this.#looseKeys.claim(entry.key)) {
      this.#sql.exec(
        "INSERT INTO datasets VALUES (?, ?)",
        entry.name,
        JSON.stringify(entry),
      );
      return { created: true, dataset: entry };
    }
    await this.#looseKeys.release(entry.key);
    if (!present) {
      throw new AppError(
        "unavailable",
        `Expected an upload that goes on within ${LEASE_MS / 1000} seconds at any time, got a longer pause; repeat the request`,
      );
    }
    if (present.textDigest === entry.textDigest) {
      return { created: false, dataset: present };
    }
    throw new AppError(
      "dataset_differs",
      `Expected the content that "${entry.name}" already has, SHA-256 ${present.textDigest}; got ${entry.textDigest}`,
    );
  }

  /**
   * Removes a dataset and returns it. Errors: `dataset_not_found`; `dataset_in_use` if a run that has not ended uses
   * it
   */
  async remove(name: string): Promise<StoredDataset> {
    const removed = this.get(name);
    const [user] = this.#sql.exec<{ run: string }>(
      "SELECT run FROM runs WHERE dataset = ? AND ended = 0 LIMIT 1",
      name,
    );
    if (user) {
      throw new AppError(
        "dataset_in_use",
        `Expected a dataset that no unfinished run uses, got "${name}", which run "${user.run}" uses`,
      );
    }
    this.#sql.exec("DELETE FROM datasets WHERE name = ?", name);
    for (const key of keysOf(removed)) await this.#looseKeys.release(key);
    return removed;
  }

  /** Stores the progress, from 0 to 1, of the work on the upload under `key`. */
  noteProgress(name: string, key: string, progress: number): TokenizingState {
    const dataset = this.find(name);
    if (dataset?.key !== key) return "gone";
    if (dataset.state !== "training") return "over";
    this.#replace({ ...dataset, progress });
    return "under way";
  }

  /** Ends the training: the tokens are ready or it failed. Deletes the text. Idempotent. */
  async endTraining(
    name: string,
    key: string,
    outcome: Tokenized,
  ): Promise<void> {
    const dataset = this.find(name);
    if (dataset?.key !== key || dataset.state !== "training") return;
    this.#replace(
      "error" in outcome
        ? { ...dataset, ...outcome, state: "failed" }
        : { ...dataset, ...outcome, state: "ready", progress: 1 },
    );
    await this.#looseKeys.release(key);
  }

  #replace(dataset: StoredDataset): void {
    this.#sql.exec(
      "UPDATE datasets SET dataset = ? WHERE name = ?",
      JSON.stringify(dataset),
      dataset.name,
    );
  }
}
