/**
 * Brings a run from step to step: evaluation, two-phase commit, end. Whoever calls finds out what is
 * due from storage and does it, so any call, or the alarm, goes on where a crash left off.
 */
import { AppError } from "../../api/errors.ts";
import { hasEnded, type RunConfig, type RunState } from "../../api/types.ts";
import { evaluationMicrobatches } from "../../training/data.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { allOf, applyStep, initializeShards, prepareStep } from "./commit.ts";
import { meanLoss } from "../../training/step-end.ts";
import { directoryStub } from "../directory/directory.ts";
import type { EventLog } from "./event-log.ts";
import { Lock } from "../platform/lock.ts";
import type { CommitRecord } from "./run-history.ts";
import type { RunRecord, RunStore } from "./run-store.ts";
import { type ShardStub, shardStub } from "../shard/shard-stub.ts";
import { outdatedRun } from "../platform/schema.ts";
import { type Microbatch, StepLeases } from "./step-leases.ts";

const ALARM_MS = 5_000;

export class RunProgress {
  readonly #storage: DurableObjectStorage;
  readonly #bindings: ObjectBindings;
  readonly #store: RunStore;
  readonly #events: EventLog;
  readonly #onChange: () => void;
  /** Commits and checkpoints exclude each other: a checkpoint is of one step. */
  readonly #lock = new Lock();
  #leases: StepLeases | undefined;
  #advancing: Promise<void> | undefined;
  #isAlarmSet = false;

  /** `onChange` is called when there may be something for those who wait. */
  constructor(
    storage: DurableObjectStorage,
    bindings: ObjectBindings,
    store: RunStore,
    events: EventLog,
    onChange: () => void,
  ) {
    this.#storage = storage;
    this.#bindings = bindings;
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

  /** Also of a run that nobody goes on with. Errors: `run_not_found` */
  anyRecord(): RunRecord {
    const record = this.#store.find();
    if (record) return record;
    throw new AppError(
      "run_not_found",
      "Expected the id of a run, got one that does not exist",
    );
  }

  /** The leases of the present step. */
  leases(): StepLeases {
    const { step, config } = this.record();
    if (this.#leases?.step !== step) {
      this.#leases = new StepLeases(step, this.#openMicrobatches(step, config));
    }
    return this.#leases;
  }

  #openMicrobatches(step: number, config: RunConfig): Microbatch[] {
    const counts = {
      train: step < config.steps ? config.microbatches : 0,
      eval: evaluationMicrobatches(config, step),
    };
    return (["train", "eval"] as const).flatMap((kind) => {
      const done = new Set(
        this.#store.completions(kind, step).map(({ microbatch }) => microbatch),
      );
      return Array.from({ length: counts[kind] }, (_, index) => ({
        kind,
        index,
      })).filter(({ index }) => !done.has(index));
    });
  }

  /** Do what is due: all callers wait for the same work. */
  async advance(): Promise<void> {
    if (!this.#isAdvanceDue()) return;
    this.#advancing ??= this.#lock
      .run(() => this.#finishDue())
      .finally(() => {
        this.#advancing = undefined;
      });
    await this.#advancing;
  }

  /** Run `body` between two commits, everything due done. */
  exclusive<T>(body: () => Promise<T>): Promise<T> {
    return this.#lock.run(async () => {
      await this.#finishDue();
      return body();
    });
  }

  /** The alarm that was set has come. */
  alarmCame(): void {
    this.#isAlarmSet = false;
  }

  /** Memory is a cache: read all anew. */
  forget(): void {
    this.#leases = undefined;
    this.#isAlarmSet = false;
  }

  /** Called with the lock. */
  async #finishDue(): Promise<void> {
    if (!this.#isAdvanceDue()) return;
    try {
      // Set first, so that a crash on the way is followed up even if nobody calls.
      await this.watch();
      while (this.#isAdvanceDue()) await this.#advanceOnce(this.record());
    } finally {
      this.#onChange();
    }
  }

  #isAdvanceDue(): boolean {
    const record = this.anyRecord();
    const { initialized, state, settled, step } = record;
    if (record.outdated) return false;
    if (!initialized) return true;
    if (hasEnded(state)) return !settled;
    return (
      this.leases().isDone || this.#store.history.commit(step) !== undefined
    );
  }

  async #advanceOnce(record: RunRecord): Promise<void> {
    const { run, config, step, state } = record;
    const shards = this.shards(record);
    const commit = this.#store.history.commit(step);
    if (!record.initialized) {
      await initializeShards(config, shards);
      this.#store.update({ initialized: true });
    } else if (commit) {
      // Also when the run has ended meanwhile: all shards must be at one step.
      await applyStep(commit, shards);
      this.#endStep(commit);
    } else if (hasEnded(state)) {
      await allOf(shards, (shard) => shard.end());
      await directoryStub(this.#bindings).endRun(run);
      this.#store.update({ settled: true });
    } else {
      this.#endEvaluation(step, config);
      if (step === config.steps) this.changeState("finished");
      else await this.#beginCommit(record, shards);
    }
  }

  #endEvaluation(step: number, config: RunConfig): void {
    if (evaluationMicrobatches(config, step) === 0) return;
    if (this.#store.history.hasEvaluation(step)) return;
    const parts = this.#store.completions("eval", step);
    const loss = meanLoss(parts);
    this.#storage.transactionSync(() => {
      this.#store.history.addEvaluation(step, loss, Date.now());
      this.#events.append({
        type: "evaluation",
        step,
        valLoss: loss.perToken,
        valNatsPerByte: loss.perByte,
        tokens: parts.reduce((sum, part) => sum + part.tokens, 0),
        bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
      });
    });
  }

  async #beginCommit(
    { config, step }: RunRecord,
    shards: readonly ShardStub[],
  ): Promise<void> {
    const gradient = await prepareStep(config, step, shards);
    // Cancelled while the shards were asked: nothing is persisted, and nothing is applied.
    if (hasEnded(this.record().state)) return;
    if (gradient.kind === "diverged") {
      this.changeState("diverged");
    } else if (gradient.kind === "missing") {
      for (const microbatch of gradient.microbatches) {
        this.#store.removeCompletion(step, microbatch);
      }
      this.#leases = undefined;
    } else {
      const parts = this.#store.completions("train", step);
      const tokens = parts.reduce((sum, part) => sum + part.tokens, 0);
      this.#store.history.addCommit({
        ...gradient.update,
        gradNorm: gradient.gradNorm,
        trainLoss: meanLoss(parts),
        tokens: this.#store.history.tokensBefore(step) + tokens,
        committedMs: Date.now(),
      });
    }
  }

  /** Every shard has applied the commit. */
  #endStep(commit: CommitRecord): void {
    this.#storage.transactionSync(() => {
      this.#store.update({ step: commit.step + 1 });
      const [metrics] = this.#store.history.metrics(
        this.record(),
        commit.step,
        1,
      );
      this.#events.append({ type: "step", metrics: metrics! });
    });
  }

  changeState(state: RunState): void {
    this.#storage.transactionSync(() => {
      this.#store.update({ state });
      this.#events.append({ type: "state", state });
    });
    this.#onChange();
  }

  /** The run's shards, in order. */
  shards({ run, config }: Pick<RunRecord, "run" | "config">): ShardStub[] {
    return Array.from({ length: config.shards }, (_, index) =>
      shardStub(this.#bindings, run, index),
    );
  }

  /** The backup of every call: soon an alarm looks whether something is due. */
  async watch(): Promise<void> {
    if (this.#isAlarmSet) return;
    this.#isAlarmSet = true;
    await this.#storage.setAlarm(Date.now() + ALARM_MS);
  }
}
