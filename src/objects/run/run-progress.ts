/**
 * Advances a run from step to step: evaluation, two-phase commit, end. What is due follows from storage, so any call,
 * or the alarm, continues after a crash.
 */
import { hasEnded } from "../../api/run-status.ts";
import { directoryStub } from "../directory/directory.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { Lock } from "../platform/lock.ts";
import { type ShardStub, shardStub } from "../shard/shard-stub.ts";
import type { AuthorStore } from "./author-store.ts";
import { allOf, applyStep, initializeShards } from "./commit.ts";
import type { PresentStep } from "./present-step.ts";
import type { RunRecord, RunStore } from "./run-store.ts";
import type { StepEnd } from "./step-end.ts";

const ALARM_MS = 5_000;

export class RunProgress {
  readonly #storage: DurableObjectStorage;
  readonly #bindings: ObjectBindings;
  readonly #store: RunStore;
  readonly #authors: AuthorStore;
  readonly #present: PresentStep;
  readonly #end: StepEnd;
  readonly #onChange: () => void;
  /** Commits and checkpoints exclude each other, since a checkpoint is of one step. */
  readonly #lock = new Lock();
  #advancing: Promise<void> | undefined;
  #isAlarmSet = false;

  /** `onChange` is called when waiting callers may have something to do. */
  constructor(
    storage: DurableObjectStorage,
    bindings: ObjectBindings,
    store: RunStore,
    authors: AuthorStore,
    present: PresentStep,
    end: StepEnd,
    onChange: () => void,
  ) {
    this.#storage = storage;
    this.#bindings = bindings;
    this.#store = store;
    this.#authors = authors;
    this.#present = present;
    this.#end = end;
    this.#onChange = onChange;
  }

  /** Does what is due; concurrent callers wait for the same work. */
  async advance(): Promise<void> {
    if (!this.#isAdvanceDue()) return;
    this.#advancing ??= this.#lock
      .run(() => this.#finishDue())
      .finally(() => {
        this.#advancing = undefined;
      });
    await this.#advancing;
  }

  /** Runs `body` between two commits, after everything due. */
  exclusive<T>(body: () => Promise<T>): Promise<T> {
    return this.#lock.run(async () => {
      await this.#finishDue();
      return body();
    });
  }

  /** Sets an alarm that does what is due if no call does. */
  async watch(): Promise<void> {
    if (this.#isAlarmSet) return;
    this.#isAlarmSet = true;
    await this.#storage.setAlarm(Date.now() + ALARM_MS);
  }

  /** The alarm has fired or was deleted. */
  alarmGone(): void {
    this.#isAlarmSet = false;
  }

  /** Called with the lock held. */
  async #finishDue(): Promise<void> {
    if (!this.#isAdvanceDue()) return;
    try {
      // Set first, so that work interrupted by a crash is continued even without calls.
      await this.watch();
      while (this.#isAdvanceDue())
        await this.#advanceOnce(this.#present.record());
    } finally {
      this.#onChange();
    }
  }

  #isAdvanceDue(): boolean {
    const record = this.#present.anyRecord();
    const { initialized, state, settled, step } = record;
    if (record.outdated) return false;
    if (!initialized) return true;
    if (hasEnded(state)) return !settled;
    return (
      this.#present.leases().isDone ||
      this.#store.history.commit(step) !== undefined ||
      !this.#authors.isTold
    );
  }

  async #advanceOnce(record: RunRecord): Promise<void> {
    const { run, config, keys, step, state } = record;
    const shards = this.shards(record);
    const { history, ballots } = this.#store;
    const commit = history.commit(step);
    if (!record.initialized) {
      const { rewindTo, rewinds } = record;
      if (rewindTo === null) await initializeShards(config, keys, shards);
      else
        await allOf(shards, (shard) => shard.goBack(rewindTo, keys, rewinds));
      this.#store.update({ initialized: true, rewindTo: null });
    } else if (commit) {
      // Also if the run has ended meanwhile, since all shards must be at one step.
      await applyStep(commit, shards, ballots.results("train", step));
      this.#end.committed(commit);
    } else if (hasEnded(state)) {
      await allOf(shards, (shard) => shard.end());
      await directoryStub(this.#bindings).endRun(run);
      this.#store.update({ settled: true });
    } else if (!this.#authors.isTold) {
      const excluded = this.#authors.excluded();
      await allOf(shards, (shard) => shard.exclude(excluded));
      this.#authors.markTold(excluded);
    } else if (step === config.steps) {
      this.#end.evaluated(step, config);
      this.#present.changeState("finished");
    } else await this.#end.beginCommit(record, shards);
  }

  /** The run's shards, in order. */
  shards({ run, config }: Pick<RunRecord, "run" | "config">): ShardStub[] {
    return Array.from({ length: config.shards }, (_, index) =>
      shardStub(this.#bindings, run, index),
    );
  }
}
