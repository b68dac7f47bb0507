/** Copies of vectors of one step's state, so that a checkpoint can be read while training continues. */
import { AppError } from "../../api/errors.ts";
import type { RunKeys } from "../platform/author.ts";
import { toRows } from "./vector-rows.ts";

/** Two steps can be read at the same time; a third replaces the oldest. */
const MAX_PINS = 2;

/** Identifies a sequence of states: it changes when the run is removed and created again, or rewound. */
export function timelineOf(
  { creation }: Pick<RunKeys, "creation">,
  rewinds: number,
): string {
  return `${creation}-${rewinds}`;
}

/** Errors: `step_gone` if the timeline `asked` is over */
export function checkTimeline(own: string, asked: string): void {
  if (own === asked) return;
  const creationOf = (timeline: string) =>
    timeline.slice(0, timeline.lastIndexOf("-"));
  throw stateGone(
    creationOf(own) === creationOf(asked)
      ? "the run was rewound"
      : "the run was removed, and another has its id",
  );
}

export function stateGone(why: string): AppError {
  return new AppError(
    "step_gone",
    `Expected the state that the checkpoint was read from, got none: ${why}; request the checkpoint again`,
  );
}

export class PinnedState {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  has(step: number, part: string): boolean {
    const query = "SELECT 1 FROM pins WHERE step = ? AND part = ? LIMIT 1";
    return [...this.#sql.exec(query, step, part)].length > 0;
  }

  /** Existing rows are kept. Called inside a transaction. */
  write(step: number, part: string, vector: Float32Array<ArrayBuffer>): void {
    for (const { row, bytes } of toRows(vector)) {
      this.#sql.exec(
        "INSERT OR IGNORE INTO pins VALUES (?, ?, ?, ?)",
        step,
        part,
        row,
        bytes,
      );
    }
    this.#sql.exec(
      "DELETE FROM pins WHERE step NOT IN (SELECT DISTINCT step FROM pins ORDER BY step DESC LIMIT ?)",
      MAX_PINS,
    );
  }

  /** The run was rewound to `step`. Called inside a transaction. */
  dropAfter(step: number): void {
    this.#sql.exec("DELETE FROM pins WHERE step > ?", step);
  }

  /** One row of at most 1 MiB; undefined past the end, or if the step is not pinned. */
  row(step: number, part: string, row: number): Uint8Array | undefined {
    const [found] = this.#sql.exec<{ value: ArrayBuffer }>(
      "SELECT value FROM pins WHERE step = ? AND part = ? AND row = ?",
      step,
      part,
      row,
    );
    return found && new Uint8Array(found.value);
  }
}
