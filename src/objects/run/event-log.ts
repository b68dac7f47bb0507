/** A run's events in SQLite, the latest of each kind; readers can wait for the next. */
import type { LeaseKind } from "../../api/lease.ts";
import type { RunEvent } from "../../api/run-metrics.ts";
import { Wakes } from "../platform/wakes.ts";

/**
 * How many events of each kind are kept. Bounded by kind, so that trainers that come and go, or push what is refused,
 * displace no steps.
 */
const MAX_EVENTS: Record<RunEvent["type"], number> = {
  step: 1000,
  evaluation: 1000,
  state: 100,
  trainer: 500,
  conflict: 200,
  author: 500,
  fingerprint: 100,
  rewind: 100,
  waiting: 200,
};

/** An event without the fields that the log adds. */
export type NewEvent = RunEvent extends infer E
  ? E extends RunEvent
    ? Omit<E, "id" | "timeMs">
    : never
  : never;

export class EventLog {
  readonly #sql: SqlStorage;
  readonly #appended = new Wakes();

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  append(event: NewEvent): void {
    const { id } = this.#sql
      .exec<{
        id: number;
      }>(
        "INSERT INTO events (time_ms, type, event) VALUES (?, ?, ?) RETURNING id",
        Date.now(),
        event.type,
        JSON.stringify(event),
      )
      .one();
    this.#sql.exec(
      `DELETE FROM events WHERE type = ?1 AND id <= (
         SELECT id FROM events WHERE type = ?1 AND id <= ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3
       )`,
      event.type,
      id,
      MAX_EVENTS[event.type],
    );
    this.#appended.wakeAll();
  }

  /** Adds a conflict: an author's result differs from those of others, or from its own push. */
  conflict(
    { kind, index }: { kind: LeaseKind; index: number },
    step: number,
    author: string,
  ): void {
    this.append({ type: "conflict", kind, step, microbatch: index, author });
  }

  /** Removes the events of steps from `step` on, after a rewind; those about authors stay. */
  takeBack(step: number): void {
    this.#sql.exec(
      `DELETE FROM events
        WHERE (type = 'step' AND json_extract(event, '$.metrics.step') >= ?1)
           OR (type IN ('evaluation', 'waiting') AND json_extract(event, '$.step') >= ?1)`,
      step,
    );
  }

  latest<T extends RunEvent["type"]>(
    type: T,
  ): Extract<NewEvent, { type: T }> | undefined {
    const [row] = this.#sql.exec<{ event: string }>(
      "SELECT event FROM events WHERE type = ? ORDER BY id DESC LIMIT 1",
      type,
    );
    return row && (JSON.parse(row.event) as Extract<NewEvent, { type: T }>);
  }

  /** Events with a greater id, oldest first. */
  after(id: number, limit: number): RunEvent[] {
    const rows = this.#sql.exec<{
      id: number;
      time_ms: number;
      event: string;
    }>("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", id, limit);
    return Array.from(rows, (row) => ({
      id: row.id,
      timeMs: row.time_ms,
      ...(JSON.parse(row.event) as NewEvent),
    }));
  }

  /** Resolves at the next event, or after `timeoutMs`. */
  next(timeoutMs: number): Promise<void> {
    return this.#appended.next(timeoutMs);
  }
}
