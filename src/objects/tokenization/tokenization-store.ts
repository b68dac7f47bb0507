/** A tokenization's storage: its position, and bytes that are nowhere else. */
import type { PinnedObject } from "../job/pinned-file.ts";
import { readBytes, writeBytes } from "../platform/stored-bytes.ts";
import { TOKENIZATION_SCHEMA } from "./tokenization-schema.ts";

/** The phases, in this order. */
type Phase = "count" | "merge" | "encode" | "complete";

export type Work = {
  /** The dataset's name. */
  name: string;
  /** The key of its upload, which distinguishes it from others of the same name. */
  key: string;
  vocabulary: number;
  text: PinnedObject;
  phase: Phase;
  /** Bytes of the text that the phase has processed. */
  position: number;
  /** Number of tokens so far. */
  tokens: number;
  /** The multipart upload of the tokens, and its parts. */
  uploadId: string | null;
  parts: R2UploadedPart[];
  /** Consecutive failures that may be temporary. */
  failures: number;
};

/** Stored bytes: the word counts, or the tokens that are in no part yet. */
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

  /** Stores the position, in one transaction with the bytes in `kept`. */
  save(work: Work, kept: Partial<Record<Owner, Uint8Array>> = {}): void {
    const { sql } = this.#storage;
    this.#storage.transactionSync(() => {
      sql.exec(
        "INSERT INTO work VALUES (0, ?) ON CONFLICT DO UPDATE SET work = excluded.work",
        JSON.stringify(work),
      );
      for (const [owner, bytes] of Object.entries(kept)) {
        sql.exec("DELETE FROM bytes WHERE owner = ?", owner);
        writeBytes(sql, owner, bytes);
      }
    });
  }

  kept(owner: Owner): Uint8Array<ArrayBuffer> {
    return readBytes(this.#storage.sql, owner);
  }
}
