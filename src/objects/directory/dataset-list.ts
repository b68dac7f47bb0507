/** Which datasets exist, and how far those are that get a tokenizer of their own. */
import { AppError } from "../../api/errors.ts";
import type { PinnedDataset } from "../../api/dataset.ts";
import type { LooseKeys } from "./loose-keys.ts";
import { keysOf, type StoredDataset } from "./stored-dataset.ts";
import { LEASE_MS } from "./sweep-alarm.ts";

/** How a dataset's training ended. */
export type Tokenized =
  | Pick<PinnedDataset, "digest" | "tokens" | "vocabulary">
  | { error: NonNullable<StoredDataset["error"]> };

/** What whoever makes tokens shall do: go on, leave what it has made to the dataset, or take it back. */
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

  /** By name, behind `after`. */
  page(limit: number, after: string): StoredDataset[] {
    const rows = this.#sql.exec<{ dataset: string }>(
      "SELECT dataset FROM datasets WHERE name > ? ORDER BY name LIMIT ?",
      after,
      limit,
    );
    return Array.from(rows, (row) => JSON.parse(row.dataset) as StoredDataset);
  }

  /**
   * Enter a dataset whose text is stored. The same content again keeps the first entry; what gets
   * no entry does not stay. Errors: `dataset_differs`, `unavailable`
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
        `Expected an upload with a sign of life every ${LEASE_MS / 1000} seconds, got none for longer; repeat the request`,
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

  /** Returns what it was. Errors: `dataset_not_found`, `dataset_in_use` while a run that has not ended pins it */
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

  /** So much of the work on the upload under `key` is done. */
  noteProgress(name: string, key: string, progress: number): TokenizingState {
    const dataset = this.find(name);
    if (dataset?.key !== key) return "gone";
    if (dataset.state !== "training") return "over";
    this.#replace({ ...dataset, progress });
    return "under way";
  }

  /** The tokens are there, or there will be none; the text goes. Repeating it changes nothing. */
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
