/** The pushes of one shard on disk: payloads until they are in a snapshot, digests until the run ends. */
import { type Frame, payloadBytes } from "../../api/frame.ts";
import { free } from "../../memory/free.ts";
import { slicePayload } from "../../training/gradient.ts";
import { SLICE_LENGTH } from "../../training/mean-gradient.ts";

/**
 * A push is one row of `pushes` with its frame's digest, and one row of `slices` for each
 * `SLICE_LENGTH` elements of its range (at most 512 KiB), so that a commit reads one slice of all
 * microbatches at a time.
 */
export class PushLog {
  readonly #sql: SqlStorage;
  #bytes: number | undefined;
  #read = new Uint8Array(0);

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Of the frame that was pushed under this key; undefined when none was. */
  digest(step: number, microbatch: number): string | undefined {
    const [row] = this.#sql.exec<{ digest: string }>(
      "SELECT digest FROM pushes WHERE step = ? AND microbatch = ?",
      step,
      microbatch,
    );
    return row?.digest;
  }

  /** Store a push. Called inside a transaction. */
  store({ step, microbatch, digest, dtype, payload, length }: Frame): void {
    for (let slice = 0; slice * SLICE_LENGTH < length; slice++) {
      const from = slice * SLICE_LENGTH;
      const count = Math.min(SLICE_LENGTH, length - from);
      const part = slicePayload(dtype, payload, length, from, count);
      this.#sql.exec(
        "INSERT INTO slices VALUES (?, ?, ?, ?)",
        step,
        microbatch,
        slice,
        part,
      );
      free(part);
    }
    this.#sql.exec(
      "INSERT INTO pushes VALUES (?, ?, ?)",
      step,
      microbatch,
      digest,
    );
    if (this.#bytes !== undefined) this.#bytes += payloadBytes(dtype, length);
  }

  /** The stored payload of one slice, until the next is read. */
  read(
    step: number,
    microbatch: number,
    slice: number,
  ): Uint8Array<ArrayBuffer> {
    free(this.#read);
    const { payload } = this.#sql
      .exec<{
        payload: ArrayBuffer;
      }>(
        "SELECT payload FROM slices WHERE step = ? AND microbatch = ? AND slice = ?",
        step,
        microbatch,
        slice,
      )
      .one();
    this.#read = new Uint8Array(payload);
    return this.#read;
  }

  /** Those of 0 … microbatches − 1 that have no push at `step`. */
  missing(step: number, microbatches: number): number[] {
    const rows = this.#sql.exec<{ microbatch: number }>(
      "SELECT microbatch FROM pushes WHERE step = ?",
      step,
    );
    const present = new Set(Array.from(rows, (row) => row.microbatch));
    return Array.from({ length: microbatches }, (_, index) => index).filter(
      (microbatch) => !present.has(microbatch),
    );
  }

  /** Bytes of all stored payloads. */
  bytes(): number {
    this.#bytes ??= this.#sql
      .exec<{
        bytes: number;
      }>("SELECT COALESCE(SUM(LENGTH(payload)), 0) AS bytes FROM slices")
      .one().bytes;
    return this.#bytes;
  }

  /** Drop the payloads of all steps below `step`; digests stay. Called inside a transaction. */
  dropBelow(step: number): void {
    this.#sql.exec("DELETE FROM slices WHERE step < ?", step);
    this.#bytes = undefined;
  }

  /** Drop everything: the run has ended. */
  clear(): void {
    this.#sql.exec("DELETE FROM slices");
    this.#sql.exec("DELETE FROM pushes");
    this.#bytes = undefined;
  }

  /** Memory is a cache: read all anew. */
  forget(): void {
    this.#bytes = undefined;
  }
}
