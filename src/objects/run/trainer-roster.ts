/** Who trains a run: each trainer's boot, when it was last heard of, and what it completed. */
import { AppError } from "../../api/errors.ts";
import type { LeaseRequest, TrainerStatus } from "../../api/types.ts";
import type { EventLog } from "./event-log.ts";
import type { RunStore, TrainerRecord } from "./run-store.ts";

/** Waits end earlier, so a trainer that waits is heard of more often. */
const LOST_AFTER_MS = 30_000;
/** The one that was silent longest makes room. */
const MAX_TRAINERS = 256;

export class TrainerRoster {
  readonly #store: RunStore;
  readonly #events: EventLog;
  #trainers: Map<string, TrainerRecord> | undefined;
  readonly #lost = new Set<string>();

  constructor(store: RunStore, events: EventLog) {
    this.#store = store;
    this.#events = events;
  }

  /** A trainer asks for a lease. Returns whether it is a new boot of one that was here. */
  checkIn({ trainer, bootId }: LeaseRequest, nowMs: number): boolean {
    const known = this.#known().get(trainer);
    if (known?.bootId === bootId) {
      known.lastSeenMs = nowMs;
      if (this.#lost.delete(trainer)) this.#tell(trainer, "joined");
      return false;
    }
    this.#makeRoom();
    this.#put({
      name: trainer,
      bootId,
      lastSeenMs: nowMs,
      completions: known?.completions ?? 0,
    });
    this.#lost.delete(trainer);
    this.#tell(trainer, known ? "restarted" : "joined");
    return known !== undefined;
  }

  /** A trainer completed a microbatch. Errors: `wrong_state`, it never took a lease */
  completed(trainer: string, nowMs: number): void {
    const known = this.#known().get(trainer);
    if (!known) {
      throw new AppError(
        "wrong_state",
        `Expected a trainer that has taken a lease, got "${trainer}"`,
      );
    }
    this.#put({
      ...known,
      lastSeenMs: nowMs,
      completions: known.completions + 1,
    });
  }

  isCurrentBoot(trainer: string, bootId: string): boolean {
    return this.#known().get(trainer)?.bootId === bootId;
  }

  /** Tell of those that were silent too long and that `isBusy` knows nothing of. */
  markLost(nowMs: number, isBusy: (trainer: string) => boolean): void {
    for (const { name, lastSeenMs } of this.#known().values()) {
      if (this.#lost.has(name) || isBusy(name)) continue;
      if (nowMs - lastSeenMs < LOST_AFTER_MS) continue;
      this.#lost.add(name);
      this.#tell(name, "lost");
    }
  }

  /** Whether there is a trainer that is not lost. */
  get isAttended(): boolean {
    return this.#known().size > this.#lost.size;
  }

  statuses(): TrainerStatus[] {
    return Array.from(
      this.#known().values(),
      ({ name, lastSeenMs, completions }) => ({
        name,
        lastSeenMs,
        completions,
      }),
    );
  }

  /** Memory is a cache: read all anew. */
  forget(): void {
    this.#trainers = undefined;
    this.#lost.clear();
  }

  #known(): Map<string, TrainerRecord> {
    this.#trainers ??= new Map(
      this.#store.trainers().map((trainer) => [trainer.name, trainer]),
    );
    return this.#trainers;
  }

  #put(record: TrainerRecord): void {
    this.#known().set(record.name, record);
    this.#store.putTrainer(record);
  }

  #makeRoom(): void {
    const known = this.#known();
    if (known.size < MAX_TRAINERS) return;
    const [silent] = [...known.values()].sort(
      (a, b) => a.lastSeenMs - b.lastSeenMs,
    );
    known.delete(silent!.name);
    this.#lost.delete(silent!.name);
    this.#store.removeTrainer(silent!.name);
  }

  #tell(trainer: string, change: "joined" | "restarted" | "lost"): void {
    this.#events.append({ type: "trainer", trainer, change });
  }
}
