/** What a tokenization keeps on disk: where it stands, and the bytes that are nowhere else. */
import type { PinnedObject } from "../job/pinned-file.ts";
import { readBytes, writeBytes } from "../platform/stored-bytes.ts";
import { TOKENIZATION_SCHEMA } from "./tokenization-schema.ts";

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
        writeBytes(sql, owner, bytes);
      }
    });
  }

  kept(owner: Owner): Uint8Array<ArrayBuffer> {
    return readBytes(this.#storage.sql, owner);
  }
}
