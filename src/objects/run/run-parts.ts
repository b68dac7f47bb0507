/** The parts of a run, and how they depend on each other. */
import type { ObjectBindings } from "../platform/bindings.ts";
import { Agreement } from "./agreement.ts";
import { AuthorStore } from "./author-store.ts";
import { EventLog } from "./event-log.ts";
import { PresentStep } from "./present-step.ts";
import { RunProgress } from "./run-progress.ts";
import { RunStore } from "./run-store.ts";
import { StepEnd } from "./step-end.ts";
import { TextBytes } from "./text-bytes.ts";
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
  present: PresentStep;
  stepEnd: StepEnd;
  progress: RunProgress;
  agreement: Agreement;
  textBytes: TextBytes;
};

export function runParts(
  storage: DurableObjectStorage,
  bindings: ObjectBindings,
  name?: string,
): RunParts {
  const store = new RunStore(storage);
  const authors = new AuthorStore(storage.sql);
  const events = new EventLog(storage.sql);
  const roster = new TrainerRoster(new TrainerStore(storage.sql), events);
  const waiting = new WaitingRoom();
  const wakeAll = () => waiting.wakeAll();
  const present = new PresentStep(name, storage, store, events, wakeAll);
  const stepEnd = new StepEnd(store, authors, events, present);
  const progress = new RunProgress(
    storage,
    bindings,
    store,
    authors,
    present,
    stepEnd,
    wakeAll,
  );
  const agreement = new Agreement(
    store,
    authors,
    events,
    () => present.leases(),
    (nowMs) => there({ roster, waiting, present }, nowMs),
    roster.pace,
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
    present,
    stepEnd,
    progress,
    agreement,
    textBytes: new TextBytes(bindings, store),
  };
}

/** The trainers that are present. */
export function there(
  parts: Pick<RunParts, "roster" | "waiting" | "present">,
  nowMs: number,
): ReturnType<TrainerRoster["there"]> {
  return parts.roster.there(nowMs, (trainer) => isBusy(parts, trainer, nowMs));
}

/** A trainer that waits for a lease or holds one counts as present, however long it has sent nothing. */
export function isBusy(
  { waiting, present }: Pick<RunParts, "waiting" | "present">,
  trainer: string,
  nowMs: number,
): boolean {
  return waiting.has(trainer) || present.leases().isHolding(trainer, nowMs);
}
