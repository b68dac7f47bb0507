/** A run's record and the leases of its present step, and how both change. Storage is authoritative. */
import { AppError } from "../../api/errors.ts";
import type { RunConfig } from "../../api/run-config.ts";
import { hasEnded, type RunState } from "../../api/run-status.ts";
import { evaluationMicrobatches } from "../../training/data.ts";
import { outdatedRun } from "../platform/schema.ts";
import { ballotsOf, requiredOf, seedOf } from "./ballot-store.ts";
import type { EventLog } from "./event-log.ts";
import type { RunRecord, RunStore } from "./run-store.ts";
import { StepLeases } from "./step-leases.ts";
import { verdictOf } from "./verdict.ts";

export class PresentStep {
  readonly #run: string | undefined;
  readonly #storage: DurableObjectStorage;
  readonly #store: RunStore;
  readonly #events: EventLog;
  readonly #onChange: () => void;
  #leases: StepLeases | undefined;

  /** `run` is the object's name. `onChange` is called when waiting callers may have something to do. */
  constructor(
    run: string | undefined,
    storage: DurableObjectStorage,
    store: RunStore,
    events: EventLog,
    onChange: () => void,
  ) {
    this.#run = run;
    this.#storage = storage;
    this.#store = store;
    this.#events = events;
    this.#onChange = onChange;
  }

  /** Errors: `run_not_found`, `state_version` */
  record(): RunRecord {
    const record = this.anyRecord();
    if (record.outdated) throw outdatedRun();
    return record;
  }

  /** The record, also of an outdated run. Errors: `run_not_found` */
  anyRecord(): RunRecord {
    const record = this.#store.find();
    if (record) return record;
    throw new AppError(
      "run_not_found",
      `Expected the id of a run, got "${this.#run}"`,
    );
  }

  leases(): StepLeases {
    const { step, config } = this.record();
    if (this.#leases?.step !== step)
      this.#leases = this.#readLeases(step, config);
    return this.#leases;
  }

  /** Leases from storage: microbatches on which authors agreed are done; for the others, further authors are asked. */
  #readLeases(step: number, config: RunConfig): StepLeases {
    const counts = {
      train: step < config.steps ? config.microbatches : 0,
      eval: evaluationMicrobatches(config, step),
    };
    const leases = new StepLeases(step, []);
    for (const kind of ["train", "eval"] as const) {
      const ballots = this.#store.ballots.ofStep(kind, step);
      for (let index = 0; index < counts[kind]; index++) {
        const told = ballots.get(index) ?? [];
        const verdict = verdictOf(
          ballotsOf(told),
          requiredOf(config, told),
          Infinity,
        );
        if (verdict.kind === "settled") continue;
        leases.ask(
          { kind, index },
          verdict.kind === "undecided" ? 1 : verdict.wanted,
          told.map(({ author }) => author),
          seedOf(verdict, told),
        );
      }
    }
    return leases;
  }

  /** Runs `body` in a transaction; if it fails, cached state is dropped too. */
  transaction<T>(body: () => T): T {
    try {
      return this.#storage.transactionSync(body);
    } catch (error) {
      this.#store.forget();
      this.forget();
      throw error;
    }
  }

  changeState(state: RunState): void {
    this.transaction(() => {
      this.#store.update({ state });
      this.#events.append({ type: "state", state });
    });
    this.#onChange();
  }

  /** Storage has changed: leases are read again. */
  forget(): void {
    this.#leases = undefined;
  }
}

/** Errors: `wrong_state` if the run has ended; `remedy` is appended to the message */
export function checkNotEnded(state: RunState, remedy = ""): void {
  if (!hasEnded(state)) return;
  throw new AppError(
    "wrong_state",
    `Expected a run that has not ended, got one that is ${state}${remedy}`,
  );
}
