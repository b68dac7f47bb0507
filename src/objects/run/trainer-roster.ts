/** The trainers of a run: each one's boot, when it was last heard of, what it completed, and how fast. */
import { AppError } from "../../api/errors.ts";
import type { LeaseKind } from "../../api/lease.ts";
import type { RunEvent } from "../../api/run-metrics.ts";
import type { HostKind, TrainerStatus } from "../../api/run-status.ts";
import { OWNER } from "../platform/author.ts";
import type { EventLog } from "./event-log.ts";
import { measured, Pace } from "./pace.ts";
import type { Holder } from "./step-leases.ts";
import type { TrainerRecord, TrainerStore } from "./trainer-store.ts";

/**
 * A trainer that was silent for so long is lost. Long polls end earlier, so waiting trainers are heard of more often.
 */
const LOST_AFTER_MS = 30_000;
/**
 * Beyond this, trainers are dropped: first those that have completed nothing, and among them the one silent longest.
 */
const MAX_TRAINERS = 256;
/** How long a trainer gets no lease after one lapsed; doubled for each further one in a row. */
const FIRST_PENALTY_MS = 1_000;
const MAX_PENALTY_MS = 60_000;

type TrainerChange = Extract<RunEvent, { type: "trainer" }>["change"];

export class TrainerRoster {
  readonly #store: TrainerStore;
  readonly #events: EventLog;
  #trainers: Map<string, TrainerRecord> | undefined;
  readonly #lost = new Set<string>();
  /** Until when each trainer gets no lease. */
  readonly #penaltyEndMs = new Map<string, number>();
  readonly pace = new Pace(
    (trainer) => this.#known().get(trainer)?.usual,
    () => this.#known().values(),
  );

  constructor(store: TrainerStore, events: EventLog) {
    this.#store = store;
    this.#events = events;
  }

  /** A trainer asks for a lease. Returns whether it is a new boot of a known trainer. */
  checkIn(holder: Holder, host: HostKind | null, nowMs: number): boolean {
    const { trainer, bootId, author } = holder;
    const known = this.#known().get(trainer);
    if (known?.bootId === bootId) {
      known.lastSeenMs = nowMs;
      if (this.#lost.delete(trainer)) this.#tell(trainer, "joined");
      return false;
    }
    if (!known) this.#makeRoom();
    this.#put({
      name: trainer,
      author,
      bootId,
      host,
      lastSeenMs: nowMs,
      completions: known?.completions ?? 0,
      usual: known?.usual ?? {},
      lapses: known?.lapses ?? 0,
    });
    this.#lost.delete(trainer);
    this.#tell(trainer, known ? "restarted" : "joined");
    return known !== undefined;
  }

  /**
   * A trainer completed a microbatch, in `tookMs` if it had a lease of it. If it was dropped since it took the lease,
   * it is added again. Errors: `wrong_state` if it never took a lease
   */
  completed(
    holder: Holder,
    kind: LeaseKind,
    tookMs: number | undefined,
    nowMs: number,
  ): void {
    const { trainer } = holder;
    if (!this.#known().has(trainer)) {
      if (tookMs === undefined)
        throw new AppError(
          "wrong_state",
          `Expected a trainer that has taken a lease, got "${trainer}"`,
        );
      this.checkIn(holder, null, nowMs);
    }
    const known = this.#known().get(trainer)!;
    this.#penaltyEndMs.delete(trainer);
    this.pace.expectAgain(trainer);
    this.#put({
      ...known,
      lastSeenMs: nowMs,
      completions: known.completions + 1,
      usual:
        tookMs === undefined
          ? known.usual
          : measured(known.usual, kind, tookMs),
      lapses: 0,
    });
  }

  /** A trainer let a lease lapse: it gets the next one only after a penalty. */
  lapsed(trainer: string, nowMs: number): void {
    const known = this.#known().get(trainer);
    if (!known) return;
    const penaltyMs = Math.min(
      MAX_PENALTY_MS,
      FIRST_PENALTY_MS * 2 ** known.lapses,
    );
    this.#penaltyEndMs.set(trainer, nowMs + penaltyMs);
    this.#put({ ...known, lapses: known.lapses + 1 });
  }

  /** When a trainer's penalty ends; 0 if it has none. */
  penaltyEndMs(trainer: string): number {
    return this.#penaltyEndMs.get(trainer) ?? 0;
  }

  /** A trainer has announced that it leaves. */
  left(trainer: string): void {
    if (!this.#known().has(trainer) || this.#lost.has(trainer)) return;
    this.#lost.add(trainer);
    this.#tell(trainer, "left");
  }

  isCurrentBoot(trainer: string, bootId: string): boolean {
    return this.#known().get(trainer)?.bootId === bootId;
  }

  /** Reports trainers as lost that were silent too long and are not busy. */
  markLost(nowMs: number, isBusy: (trainer: string) => boolean): void {
    for (const { name, lastSeenMs } of this.#known().values()) {
      if (this.#lost.has(name) || isBusy(name)) continue;
      if (nowMs - lastSeenMs < LOST_AFTER_MS) continue;
      this.#lost.add(name);
      this.#tell(name, "lost");
    }
  }

  /** The present trainers: those heard of lately, and those that are busy. */
  there(
    nowMs: number,
    isBusy: (trainer: string) => boolean,
  ): Pick<TrainerRecord, "name" | "author">[] {
    return [...this.#known().values()].filter(
      ({ name, lastSeenMs }) =>
        isBusy(name) ||
        (!this.#lost.has(name) && nowMs - lastSeenMs < LOST_AFTER_MS),
    );
  }

  /** Whether there is a trainer that is not lost. */
  get isAttended(): boolean {
    return this.#known().size > this.#lost.size;
  }

  statuses(): TrainerStatus[] {
    return Array.from(
      this.#known().values(),
      ({ name, author, host, lastSeenMs, completions }) => ({
        name: ownName(name),
        author,
        host,
        lastSeenMs,
        completions,
      }),
    );
  }

  /** Drops the cache; everything is read again from storage. */
  forget(): void {
    this.#trainers = undefined;
    this.#lost.clear();
    this.#penaltyEndMs.clear();
  }

  #known(): Map<string, TrainerRecord> {
    this.#trainers ??= new Map(
      this.#store.all().map((trainer) => [trainer.name, trainer]),
    );
    return this.#trainers;
  }

  #put(record: TrainerRecord): void {
    this.#known().set(record.name, record);
    this.#store.put(record);
  }

  #makeRoom(): void {
    const known = this.#known();
    if (known.size < MAX_TRAINERS) return;
    const [silent] = [...known.values()].sort(
      (a, b) =>
        Number(a.completions > 0) - Number(b.completions > 0) ||
        a.lastSeenMs - b.lastSeenMs,
    );
    known.delete(silent!.name);
    this.#lost.delete(silent!.name);
    this.#penaltyEndMs.delete(silent!.name);
    this.pace.expectAgain(silent!.name);
    this.#store.remove(silent!.name);
  }

  #tell(trainer: string, change: TrainerChange): void {
    const event = { type: "trainer", trainer: ownName(trainer) } as const;
    this.#events.append({ ...event, change });
  }
}

/**
 * A trainer's name in the roster. The token's id is put before it, since trainers of different join tokens may have
 * the same name.
 */
export function rosterName(caller: string, trainer: string): string {
  return caller === OWNER ? trainer : `${caller}/${trainer}`;
}

function ownName(trainer: string): string {
  return trainer.slice(trainer.indexOf("/") + 1);
}
