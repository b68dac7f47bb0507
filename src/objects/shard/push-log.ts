/** A shard's pushes in SQLite: payloads until a snapshot contains them, digests until the run ends. */
import { type Frame, payloadBytes } from "../../api/frame.ts";
import { free } from "../../memory/free.ts";
import { slicePayload } from "../../training/gradient.ts";
import { SLICE_LENGTH } from "../../training/mean-gradient.ts";

/** The stored fields of a frame, or of a subtree's sum. */
export type Logged = Pick<
  Frame,
  "step" | "microbatch" | "digest" | "dtype" | "payload" | "length"
>;

/** The variant that a commit takes, by microbatch. */
export type Variants = readonly number[];

/**
 * A push is one row of `pushes` with its frame's digest, and one row of `slices` (at most 512 KiB) for each
 * `SLICE_LENGTH` elements of its range, so that a commit can read one slice of all microbatches at a time. Different
 * pushes for one microbatch are its variants, numbered from 0; authors that pushed the same bytes share one. The
 * commit takes one variant of each microbatch and deletes the others.
 */
export class PushLog {
  readonly #sql: SqlStorage;
  #bytes: number | undefined;
  #read = new Uint8Array(0);

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** The digest of the author's push; undefined if there is none. */
  digest(step: number, microbatch: number, author: string): string | undefined {
    const [row] = this.#sql.exec<{ digest: string }>(
      `SELECT digest FROM pushes JOIN push_authors USING (step, microbatch, variant)
        WHERE step = ? AND microbatch = ? AND author = ?`,
      step,
      microbatch,
      author,
    );
    return row?.digest;
  }

  /** Whether anyone has pushed this. */
  has(step: number, microbatch: number, digest: string): boolean {
    return this.#variants(step, microbatch).some(
      (each) => each.digest === digest,
    );
  }

  /** The digest of the push that a past step's commit took. */
  keptDigest(step: number, microbatch: number): string | undefined {
    return this.#variants(step, microbatch)[0]?.digest;
  }

  /** Stores an author's push; returns whether the same bytes were stored before. Called inside a transaction. */
  store(frame: Logged, author: string): boolean {
    const { step, microbatch, digest } = frame;
    const variants = this.#variants(step, microbatch);
    const same = variants.find((each) => each.digest === digest);
    const variant =
      same?.variant ??
      Math.max(-1, ...variants.map((each) => each.variant)) + 1;
    if (!same) this.#storeVariant(frame, variant);
    this.#sql.exec(
      "INSERT OR IGNORE INTO push_authors VALUES (?, ?, ?, ?)",
      step,
      microbatch,
      author,
      variant,
    );
    return same !== undefined;
  }

  #storeVariant(
    { step, microbatch, digest, dtype, payload, length }: Logged,
    variant: number,
  ): void {
    for (let slice = 0; slice * SLICE_LENGTH < length; slice++) {
      const from = slice * SLICE_LENGTH;
      const count = Math.min(SLICE_LENGTH, length - from);
      const part = slicePayload(dtype, payload, length, from, count);
      this.#sql.exec(
        "INSERT INTO slices VALUES (?, ?, ?, ?, ?)",
        step,
        microbatch,
        variant,
        slice,
        part,
      );
      free(part);
    }
    this.#sql.exec(
      "INSERT INTO pushes VALUES (?, ?, ?, ?)",
      step,
      microbatch,
      variant,
      digest,
    );
    if (this.#bytes !== undefined) this.#bytes += payloadBytes(dtype, length);
  }

  /** The stored payload of one slice, valid until the next is read. */
  read(
    step: number,
    microbatch: number,
    variant: number,
    slice: number,
  ): Uint8Array<ArrayBuffer> {
    free(this.#read);
    const { payload } = this.#sql
      .exec<{
        payload: ArrayBuffer;
      }>(
        "SELECT payload FROM slices WHERE step = ? AND microbatch = ? AND variant = ? AND slice = ?",
        step,
        microbatch,
        variant,
        slice,
      )
      .one();
    this.#read = new Uint8Array(payload);
    return this.#read;
  }

  /**
   * The variants with these digests, for the microbatches from `first` on; or the microbatches that have no such
   * push.
   */
  find(
    step: number,
    taken: readonly (string | null)[],
    first = 0,
  ): { variants: Variants } | { missing: number[] } {
    const here = this.#ofStep(step);
    const found = taken.map(
      (digest, index) =>
        here.find(
          (each) =>
            each.microbatch === first + index &&
            (digest === null || each.digest === digest),
        )?.variant,
    );
    const missing = [...found.keys()]
      .filter((index) => found[index] === undefined)
      .map((index) => first + index);
    return missing.length > 0 ? { missing } : { variants: found as number[] };
  }

  /** The digest of the first push of each microbatch that has one. */
  firstDigests(step: number): string[] {
    return Array.from(
      this.#sql.exec<{ digest: string }>(
        "SELECT digest, MIN(variant) FROM pushes WHERE step = ? GROUP BY microbatch ORDER BY microbatch",
        step,
      ),
      ({ digest }) => digest,
    );
  }

  /** The commit takes these variants; the step's others are deleted. Idempotent. Called inside a transaction. */
  keep(step: number, variants: Variants, first = 0): void {
    const others = this.#ofStep(step).filter(
      ({ microbatch, variant }) => variant !== variants[microbatch - first],
    );
    // There are others only if somebody lied.
    if (others.length === 0) return;
    for (const { microbatch, variant } of others) {
      for (const table of ["slices", "pushes", "push_authors"])
        this.#sql.exec(
          `DELETE FROM ${table} WHERE step = ? AND microbatch = ? AND variant = ?`,
          step,
          microbatch,
          variant,
        );
    }
    this.#bytes = undefined;
  }

  /** The step is committed: only the run needs to know its authors. Called inside a transaction. */
  forgetAuthors(step: number): void {
    this.#sql.exec("DELETE FROM push_authors WHERE step <= ?", step);
  }

  /** The variants of a committed step. */
  kept(step: number): Variants {
    return Array.from(
      this.#sql.exec<{ variant: number }>(
        "SELECT variant FROM pushes WHERE step = ? ORDER BY microbatch",
        step,
      ),
      ({ variant }) => variant,
    );
  }

  /**
   * Voids the pushes of these authors (default: of all) from `step` on, unless others pushed the same. Called inside
   * a transaction.
   */
  discard(step: number, authors?: readonly string[]): void {
    if (authors === undefined)
      this.#sql.exec("DELETE FROM push_authors WHERE step >= ?", step);
    for (const author of authors ?? [])
      this.#sql.exec(
        "DELETE FROM push_authors WHERE step >= ? AND author = ?",
        step,
        author,
      );
    for (const table of ["slices", "pushes"])
      this.#sql.exec(
        `DELETE FROM ${table} WHERE step >= ?1 AND (step, microbatch, variant) NOT IN (
           SELECT step, microbatch, variant FROM push_authors WHERE step >= ?1
         )`,
        step,
      );
    this.#bytes = undefined;
  }

  /** Total bytes of all stored payloads. */
  bytes(): number {
    this.#bytes ??= this.#sql
      .exec<{
        bytes: number;
      }>("SELECT COALESCE(SUM(LENGTH(payload)), 0) AS bytes FROM slices")
      .one().bytes;
    return this.#bytes;
  }

  /** Deletes the payloads of all steps below `step`; digests stay. Called inside a transaction. */
  dropBelow(step: number): void {
    this.#sql.exec("DELETE FROM slices WHERE step < ?", step);
    this.#bytes = undefined;
  }

  /** Deletes everything; the run has ended. */
  clear(): void {
    for (const table of ["slices", "pushes", "push_authors"])
      this.#sql.exec(`DELETE FROM ${table}`);
    this.#bytes = undefined;
  }

  /** Drops the cache; everything is read again from storage. */
  forget(): void {
    this.#bytes = undefined;
  }

  #ofStep(
    step: number,
  ): { microbatch: number; variant: number; digest: string }[] {
    return this.#sql
      .exec<{ microbatch: number; variant: number; digest: string }>(
        "SELECT microbatch, variant, digest FROM pushes WHERE step = ? ORDER BY microbatch, variant",
        step,
      )
      .toArray();
  }

  #variants(
    step: number,
    microbatch: number,
  ): { variant: number; digest: string }[] {
    return this.#sql
      .exec<{ variant: number; digest: string }>(
        "SELECT variant, digest FROM pushes WHERE step = ? AND microbatch = ? ORDER BY variant",
        step,
        microbatch,
      )
      .toArray();
  }
}
