/** What was told of each microbatch, and by whom, on disk. Of steps that are committed all tell the same. */
import type { LeaseKind, Phases } from "../../api/lease.ts";
import type { RunConfig } from "../../api/run-config.ts";
import type { AgreedResult } from "../../api/run-metrics.ts";
import type { Ballot, Verdict } from "./verdict.ts";
import type { Microbatch } from "./step-leases.ts";
import { sumOfPhases } from "../../training/phase-clock.ts";
import { says } from "../../training/results-digest.ts";
import type { LossSum } from "../../training/step-end.ts";

/** What a microbatch came to: its loss, and the SHA-256 of each shard's frame of its gradient. */
export type Told = LossSum & {
  digests: string[];
  /** How it came to that, which nothing depends on. */
  phases: Phases | null;
};

/** `required` authors must tell the same, whose word counts: the first, and those whom the run has asked. */
export type StoredBallot = Told & {
  author: string;
  required: number;
  counts: boolean;
  /** What draws whom the run asks; null where anyone may. */
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

  /** All of one microbatch. */
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

  /** All of a step's, by microbatch. */
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

  /** What each microbatch of a step came to, in order, where all agree. */
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

  /** From now on what these authors have told of one microbatch counts. */
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

  /** What all who told of a step's microbatches took in all. */
  phases(step: number): Phases {
    const told = (["train", "eval"] as const).flatMap((kind) =>
      [...this.ofStep(kind, step).values()].flat(),
    );
    return sumOfPhases(told.flatMap(({ phases }) => phases ?? []));
  }

  /** Of which an author has told in a step. */
  microbatchesOf(author: string, step: number): Microbatch[] {
    return this.#sql
      .exec<Microbatch>(
        'SELECT kind, microbatch AS "index" FROM ballots WHERE author = ? AND step = ?',
        author,
        step,
      )
      .toArray();
  }

  /** What an author has told of one microbatch is void. */
  remove({ kind, index }: Microbatch, step: number, author: string): void {
    this.#sql.exec(
      "DELETE FROM ballots WHERE kind = ? AND step = ? AND microbatch = ? AND author = ?",
      kind,
      step,
      index,
      author,
    );
  }

  /** What all have told of this step and those after it is void. Called inside a transaction. */
  takeBack(step: number): void {
    this.#sql.exec("DELETE FROM ballots WHERE step >= ?", step);
  }

  /** What all have told of steps that are not committed is void. */
  discardAll(): void {
    this.#sql.exec(
      "DELETE FROM ballots WHERE step > COALESCE((SELECT MAX(step) FROM commits), -1)",
    );
  }

  /** What an author has told of steps that are not committed is void. */
  discard(author: string): void {
    this.#sql.exec(
      "DELETE FROM ballots WHERE author = ? AND step NOT IN (SELECT step FROM commits)",
      author,
    );
  }
}

/** So many authors must tell the same: as was found when the first told, or as the config asks of all. */
export function requiredOf(
  { redundancy = 1 }: Pick<RunConfig, "redundancy">,
  [first]: readonly StoredBallot[],
): number {
  return first?.required ?? redundancy;
}

/** What draws whom the run asks next; null where anyone may: nobody has told, or they differ, and all are asked. */
export function seedOf(
  { kind }: Verdict,
  [first]: readonly StoredBallot[],
): number | null {
  return kind === "open" ? (first?.seed ?? null) : null;
}

/** Of each microbatch one, in order: where all agree, what it came to. */
export function firstOf(
  told: ReadonlyMap<number, readonly StoredBallot[]>,
): StoredBallot[] {
  return Array.from(told.values(), ([first]) => first!);
}

/** By microbatch, what was told of it: one result of each that is committed. */
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
