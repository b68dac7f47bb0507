/** What a tokenization keeps on disk: where it stands, and the bytes that are nowhere else. */
import { free } from "../../memory/free.ts";
import type { PinnedObject } from "../job/pinned-file.ts";
import { TOKENIZATION_SCHEMA } from "./tokenization-schema.ts";

/** A row may not be larger than 2 MB. */
const ROW_BYTES = 1024 * 1024;

/** What is being done: its order. */
type Phase = "count" | "merge" | "encode" | "complete";

export type Work = {
  /** The dataset's name. */
  name: string;
  /** The key of its upload, by which it is known from one of the same name. */
  key: string;
  vocabulary: number;
  text: PinnedObject;
  phase: Phase;
  /** Bytes of the text that the phase is through with. */
  position: number;
  /** Made so far. */
  tokens: number;
  /** The upload of the tokens that is under way, and the parts that it has. */
  uploadId: string | null;
  parts: R2UploadedPart[];
  /** In a row, for reasons that may pass. */
  failures: number;
};

/** Of the words that were counted, or of the tokens that no part has yet. */
type Owner = "counts" | "tail";

export class TokenizationStore {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  create(work: Work): void {
    this.#storage.transactionSync(() => {
      TOKENIZATION_SCHEMA.create(this.#storage.sql);
      this.save(work);
    });
  }

  load(): Work | undefined {
    if (!TOKENIZATION_SCHEMA.open(this.#storage)) return undefined;
    const [row] = this.#storage.sql.exec<{ work: string }>(
      "SELECT work FROM work",
    );
    return row && (JSON.parse(row.work) as Work);
  }

  /** Write where the work stands, at once with what is kept of it, if that is told. */
  save(work: Work, kept: Partial<Record<Owner, Uint8Array>> = {}): void {
    const { sql } = this.#storage;
    this.#storage.transactionSync(() => {
      sql.exec(
        "INSERT INTO work VALUES (0, ?) ON CONFLICT DO UPDATE SET work = excluded.work",
        JSON.stringify(work),
      );
      for (const [owner, bytes] of Object.entries(kept)) {
        sql.exec("DELETE FROM bytes WHERE owner = ?", owner);
        for (let row = 0; row * ROW_BYTES < bytes.length; row++) {
          sql.exec(
            "INSERT INTO bytes VALUES (?, ?, ?)",
            owner,
            row,
            bytes.subarray(row * ROW_BYTES, (row + 1) * ROW_BYTES),
          );
        }
      }
    });
  }

  /** Row by row into one buffer, so that no more than it is in memory. */
  kept(owner: Owner): Uint8Array<ArrayBuffer> {
    const { sql } = this.#storage;
    const { length } = sql
      .exec<{ length: number }>(
        "SELECT COALESCE(SUM(LENGTH(value)), 0) AS length FROM bytes WHERE owner = ?",
        owner,
      )
      .one();
    const bytes = new Uint8Array(length);
    const rows = sql.exec<{ value: ArrayBuffer }>(
      "SELECT value FROM bytes WHERE owner = ? ORDER BY row",
      owner,
    );
    let at = 0;
    for (const { value } of rows) {
      bytes.set(new Uint8Array(value), at);
      at += value.byteLength;
      free(new Uint8Array(value));
    }
    return bytes;
  }
}
