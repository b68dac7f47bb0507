/**
 * The results reported for each microbatch, with their authors, in SQLite ("ballots"). After a step's commit, those
 * that remain agree.
 */
import type { LeaseKind, Phases } from "../../api/lease.ts";
import type { RunConfig } from "../../api/run-config.ts";
import type { AgreedResult } from "../../api/run-metrics.ts";
import type { Ballot, Verdict } from "./verdict.ts";
import type { Microbatch } from "./step-leases.ts";
import { sumOfPhases } from "../../training/phase-clock.ts";
import { says } from "../../training/results-digest.ts";
import type { LossSum } from "../../training/step-end.ts";

/** A microbatch's result: its loss, and the SHA-256 of each shard's frame of its gradient. */
export type Told = LossSum & {
  digests: string[];
  /** How long it took; informative only. */
  phases: Phases | null;
};

/**
 * One author's result. `required` authors must agree. `counts` is true for the first author and for those that the
 * run asked.
 */
export type StoredBallot = Told & {
  author: string;
  required: number;
  counts: boolean;
  /** Seed of the draw of further authors; null if any author may report. */
  seed: number | null;
};

type BallotRow = {
  microbatch: number;
  author: string;
  loss_sum: number | null;
  tokens: number;
  bytes: number;
  digests: string;
  required: number;
  phases: string | null;
  counts: number;
  seed: number | null;
};

export class BallotStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** All results for one microbatch. */
  of({ kind, index }: Microbatch, step: number): StoredBallot[] {
    return Array.from(
      this.#sql.exec<BallotRow>(
        "SELECT * FROM ballots WHERE kind = ? AND step = ? AND microbatch = ? ORDER BY author",
        kind,
        step,
        index,
      ),
      toBallot,
    );
  }

  /** All results of a step, by microbatch. */
  ofStep(kind: LeaseKind, step: number): Map<number, StoredBallot[]> {
    const rows = this.#sql.exec<BallotRow>(
      "SELECT * FROM ballots WHERE kind = ? AND step = ? ORDER BY microbatch, author",
      kind,
      step,
    );
    const found = new Map<number, StoredBallot[]>();
    for (const row of rows) {
      const ballots = found.get(row.microbatch) ?? [];
      found.set(row.microbatch, [...ballots, toBallot(row)]);
    }
    return found;
  }

  /** One result for each microbatch, in order; requires that all agree. */
  results(kind: LeaseKind, step: number): StoredBallot[] {
    return firstOf(this.ofStep(kind, step));
  }

  add({ kind, index }: Microbatch, step: number, ballot: StoredBallot): void {
    const { phases } = ballot;
    this.#sql.exec(
      "INSERT INTO ballots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      kind,
      step,
      index,
      ballot.author,
      ballot.lossSum,
      ballot.tokens,
      ballot.bytes,
      ballot.digests.join(" "),
      ballot.required,
      phases && JSON.stringify(phases),
      Number(ballot.counts),
      ballot.seed,
    );
  }

  /** Makes these authors' results for a microbatch count. */
  count(
    { kind, index }: Microbatch,
    step: number,
    authors: readonly string[],
  ): void {
    this.#sql.exec(
      `UPDATE ballots SET counts = 1 WHERE kind = ? AND step = ? AND microbatch = ?
          AND author IN (SELECT value FROM json_each(?))`,
      kind,
      step,
      index,
      JSON.stringify(authors),
    );
  }

  /** The sum of all authors' times in a step. */
  phases(step: number): Phases {
    const told = (["train", "eval"] as const).flatMap((kind) =>
      [...this.ofStep(kind, step).values()].flat(),
    );
    return sumOfPhases(told.flatMap(({ phases }) => phases ?? []));
  }

  /** The microbatches of a step for which an author has reported a result. */
  microbatchesOf(author: string, step: number): Microbatch[] {
    return this.#sql
      .exec<Microbatch>(
        'SELECT kind, microbatch AS "index" FROM ballots WHERE author = ? AND step = ?',
        author,
        step,
      )
      .toArray();
  }

  /** Removes an author's result for one microbatch. */
  remove({ kind, index }: Microbatch, step: number, author: string): void {
    this.#sql.exec(
      "DELETE FROM ballots WHERE kind = ? AND step = ? AND microbatch = ? AND author = ?",
      kind,
      step,
      index,
      author,
    );
  }

  /** Removes all results from this step on. Called inside a transaction. */
  takeBack(step: number): void {
    this.#sql.exec("DELETE FROM ballots WHERE step >= ?", step);
  }

  /** Removes all results of uncommitted steps. */
  discardAll(): void {
    this.#sql.exec(
      "DELETE FROM ballots WHERE step > COALESCE((SELECT MAX(step) FROM commits), -1)",
    );
  }

  /** Removes an author's results of uncommitted steps. */
  discard(author: string): void {
    this.#sql.exec(
      "DELETE FROM ballots WHERE author = ? AND step NOT IN (SELECT step FROM commits)",
      author,
    );
  }
}

/** The number of authors that must agree: stored with the first result, or the config's `redundancy`. */
export function requiredOf(
  { redundancy = 1 }: Pick<RunConfig, "redundancy">,
  [first]: readonly StoredBallot[],
): number {
  return first?.required ?? redundancy;
}

/** Seed of the draw of further authors; null if any author may report: before the first result, and in a dispute. */
export function seedOf(
  { kind }: Verdict,
  [first]: readonly StoredBallot[],
): number | null {
  return kind === "open" ? (first?.seed ?? null) : null;
}

/** One result for each microbatch, in order; requires that all agree. */
export function firstOf(
  told: ReadonlyMap<number, readonly StoredBallot[]>,
): StoredBallot[] {
  return Array.from(told.values(), ([first]) => first!);
}

/** The different results of each microbatch with their authors; after the commit there is one. */
export function resultsOf(
  ballots: ReadonlyMap<number, readonly StoredBallot[]>,
): AgreedResult[] {
  return [...ballots].flatMap(([index, told]) => {
    const alike = Map.groupBy(told, (ballot) => says(ballot));
    return Array.from(alike.values(), (same) => {
      const { lossSum, tokens, bytes, digests } = same[0]!;
      const authors = same.map(({ author }) => author);
      return { index, lossSum, tokens, bytes, digests, authors };
    });
  });
}

export function ballotsOf(stored: readonly StoredBallot[]): Ballot[] {
  return stored.map((ballot) => ({
    author: ballot.author,
    says: says(ballot),
    counts: ballot.counts,
  }));
}

function toBallot(row: BallotRow): StoredBallot {
  return {
    author: row.author,
    lossSum: row.loss_sum,
    tokens: row.tokens,
    bytes: row.bytes,
    digests: row.digests === "" ? [] : row.digests.split(" "),
    required: row.required,
    phases: row.phases === null ? null : (JSON.parse(row.phases) as Phases),
    counts: row.counts === 1,
    seed: row.seed,
  };
}
