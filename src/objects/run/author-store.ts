/** A run's join tokens and excluded authors, in SQLite. */
import { AppError } from "../../api/errors.ts";
import type { AuthorState, JoinToken } from "../../api/run-status.ts";
import { OWNER } from "../platform/author.ts";

type AuthorRow = {
  author: string;
  issued_ms: number | null;
  expires_ms: number | null;
  state: AuthorState;
};

export class AuthorStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Adds a join token; `idOf` makes its id from its number. */
  issue(
    idOf: (n: number) => string,
    issuedMs: number,
    expiresInMs: number,
  ): JoinToken & { expiresMs: number } {
    const [{ count }] = this.#sql
      .exec<{ count: number }>(
        "SELECT COUNT(*) AS count FROM authors WHERE issued_ms IS NOT NULL",
      )
      .toArray() as [{ count: number }];
    const id = idOf(count + 1);
    const expiresMs = issuedMs + expiresInMs;
    this.#sql.exec(
      "INSERT INTO authors VALUES (?, ?, ?, 'active', 1, 0)",
      id,
      issuedMs,
      expiresMs,
    );
    return { id, issuedMs, expiresMs, state: "active" };
  }

  /** Tokens in order of issue, then those of the owner's trainers that were quarantined. */
  all(): JoinToken[] {
    const rows = this.#sql.exec<AuthorRow>(
      "SELECT * FROM authors ORDER BY issued_ms IS NULL, issued_ms, length(author), author",
    );
    return Array.from(rows, (row) => ({
      id: row.author,
      issuedMs: row.issued_ms,
      expiresMs: row.expires_ms,
      state: row.state,
    }));
  }

  /** Errors: `unauthorized` if the token is unknown or revoked; `forbidden` if it is quarantined */
  check(author: string): void {
    const state = this.#state(author);
    if (state === "active") return;
    if (state === "quarantined") {
      throw new AppError(
        "forbidden",
        `Expected an author that is not quarantined, got "${author}", whose results differ from those of other authors, or from each other`,
      );
    }
    throw new AppError(
      "unauthorized",
      `Expected a join token that the run's owner has not revoked, got "${author}"`,
    );
  }

  isActive(author: string): boolean {
    return this.#state(author) === "active";
  }

  /** Called inside a transaction. The shards are informed later. */
  setState(author: string, state: AuthorState): void {
    this.#sql.exec(
      `INSERT INTO authors VALUES (?1, NULL, NULL, ?2, 0, ?2 != 'active')
       ON CONFLICT (author) DO UPDATE
         SET state = ?2, is_told = 0, exclusions = exclusions + (?2 != 'active')`,
      author,
      state,
    );
  }

  /** How often the author was revoked or quarantined. */
  exclusions(author: string): number {
    const [row] = this.#sql.exec<{ exclusions: number }>(
      "SELECT exclusions FROM authors WHERE author = ?",
      author,
    );
    return row?.exclusions ?? 0;
  }

  /** Checks that an author was not excluded since a lease, which voids its pushes. Errors: `no_lease` */
  checkStayed(author: string, exclusions: number): void {
    if (this.exclusions(author) === exclusions) return;
    throw new AppError(
      "no_lease",
      `Expected the key of a lease since "${author}" was reinstated, got an earlier one, whose push is void`,
    );
  }

  has(author: string): boolean {
    return (
      this.#sql.exec("SELECT 1 FROM authors WHERE author = ?", author).toArray()
        .length > 0
    );
  }

  /** Whether the shards know all exclusions. */
  get isTold(): boolean {
    return (
      this.#sql
        .exec("SELECT 1 FROM authors WHERE is_told = 0 LIMIT 1")
        .toArray().length === 0
    );
  }

  excluded(): string[] {
    const rows = this.#sql.exec<{ author: string }>(
      "SELECT author FROM authors WHERE state != 'active' ORDER BY author",
    );
    return Array.from(rows, ({ author }) => author);
  }

  /** Every shard now excludes these. */
  markTold(excluded: readonly string[]): void {
    if (excluded.join() === this.excluded().join())
      this.#sql.exec("UPDATE authors SET is_told = 1");
  }

  /** Authors without an entry: the owner's trainers are active, and join tokens unknown. */
  #state(author: string): AuthorState | undefined {
    const [row] = this.#sql.exec<{ state: AuthorState }>(
      "SELECT state FROM authors WHERE author = ?",
      author,
    );
    if (row) return row.state;
    return author === OWNER || author.startsWith(`${OWNER}.`)
      ? "active"
      : undefined;
  }
}
