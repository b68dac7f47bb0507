/** What a run is made of, and who asks whom. */
import type { ObjectBindings } from "../platform/bindings.ts";
import { Agreement } from "./agreement.ts";
import { AuthorStore } from "./author-store.ts";
import { EventLog } from "./event-log.ts";
import { RunProgress } from "./run-progress.ts";
import { RunStore } from "./run-store.ts";
import { TrainerRoster } from "./trainer-roster.ts";
import { TrainerStore } from "./trainer-store.ts";
import { WaitingRoom } from "./waiting-room.ts";

export type RunParts = {
  storage: DurableObjectStorage;
  bindings: ObjectBindings;
  store: RunStore;
  authors: AuthorStore;
  events: EventLog;
  roster: TrainerRoster;
  waiting: WaitingRoom;
  progress: RunProgress;
  agreement: Agreement;
};

export function runParts(
  storage: DurableObjectStorage,
  bindings: ObjectBindings,
): RunParts {
  const store = new RunStore(storage);
  const authors = new AuthorStore(storage.sql);
  const events = new EventLog(storage.sql);
  const roster = new TrainerRoster(new TrainerStore(storage.sql), events);
  const waiting = new WaitingRoom();
  const wakeAll = () => waiting.wakeAll();
  const progress = new RunProgress(
    storage,
    bindings,
    store,
    authors,
    events,
    wakeAll,
  );
  const agreement = new Agreement(
    store,
    authors,
    events,
    () => progress.leases(),
    (nowMs) =>
      roster.authors(nowMs, (trainer) =>
        isBusy({ waiting, progress }, trainer, nowMs),
      ),
    wakeAll,
  );
  return {
    storage,
    bindings,
    store,
    authors,
    events,
    roster,
    waiting,
    progress,
    agreement,
  };
}

/** A trainer that waits for a lease or holds one is there, however long it has said nothing. */
export function isBusy(
  { waiting, progress }: Pick<RunParts, "waiting" | "progress">,
  trainer: string,
  nowMs: number,
): boolean {
  return waiting.has(trainer) || progress.leases().isHolding(trainer, nowMs);
}
