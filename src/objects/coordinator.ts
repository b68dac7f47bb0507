/**
 * What a run decides: who computes what, when a step is complete, and what ends the run. Gradients
 * and parameters go between trainers and shards; only leases, completions and norms come here.
 */
import { AppError } from "../api/errors.ts";
import {
  type Completion,
  type CompletionResponse,
  hasEnded,
  type LeaseKind,
  type LeaseRequest,
  type LeaseResponse,
  type RunConfig,
  type RunState,
  type RunStatus,
  type StateRequest,
  type StepMetrics,
} from "../api/types.ts";
import { evaluationMicrobatches } from "../training/data.ts";
import type { ObjectBindings } from "./bindings.ts";
import {
  allOf,
  applyStep,
  initializeShards,
  meanLoss,
  prepareStep,
  runRanges,
} from "./commit.ts";
import { directoryStub } from "./directory.ts";
import { EventLog } from "./event-log.ts";
import { LeaseTime } from "./lease-time.ts";
import { Lock } from "./lock.ts";
import { type CommitRecord, type RunRecord, RunStore } from "./run-store.ts";
import { type ShardStub, shardStub } from "./shard-stub.ts";
import { type Microbatch, StepWork } from "./step-work.ts";
import { TrainerRoster } from "./trainer-roster.ts";
import { WaitingRoom } from "./waiting-room.ts";

/** A long poll: short of the timeouts that lie between. */
const MAX_WAIT_MS = 10_000;
const ALARM_MS = 5_000;

export class Coordinator {
  readonly #storage: DurableObjectStorage;
  readonly #bindings: ObjectBindings;
  readonly #store: RunStore;
  readonly events: EventLog;
  readonly #roster: TrainerRoster;
  readonly #waiting = new WaitingRoom();
  readonly #leaseTime = new LeaseTime();
  /** Commits and checkpoints exclude each other: a checkpoint is of one step. */
  readonly #lock = new Lock();
  #work: StepWork | undefined;
  #advancing: Promise<void> | undefined;
  #isAlarmSet = false;

  constructor(storage: DurableObjectStorage, bindings: ObjectBindings) {
    this.#storage = storage;
    this.#bindings = bindings;
    this.#store = new RunStore(storage.sql);
    this.events = new EventLog(storage.sql);
    this.#roster = new TrainerRoster(this.#store, this.events);
  }

  /** Begin. The same run again changes nothing. Errors: `wrong_state`, another run has this id */
  async create(
    run: string,
    config: RunConfig,
  ): Promise<{ created: boolean; status: RunStatus }> {
    const present = this.#store.find();
    if (!present) {
      this.#storage.transactionSync(() => {
        this.#store.create(run, config, Date.now());
        this.events.append({ type: "state", state: "running" });
      });
    } else if (JSON.stringify(present.config) !== JSON.stringify(config)) {
      throw new AppError(
        "wrong_state",
        `Expected a new run id, or the config that run "${run}" already has`,
      );
    }
    await this.#advance();
    return { created: present === undefined, status: this.status() };
  }

  status(): RunStatus {
    const { run, state, step, config, createdMs } = this.#record();
    return {
      run,
      state,
      step,
      config,
      ...runRanges(config),
      trainers: this.#roster.statuses(),
      ...this.#store.latestLosses(),
      createdMs,
    };
  }

  /** The next lease; waits up to `MAX_WAIT_MS` for one. Errors: `fingerprint_differs` */
  async lease(request: LeaseRequest): Promise<LeaseResponse> {
    const endMs = Date.now() + MAX_WAIT_MS;
    this.#checkIn(request);
    await this.#setAlarm();
    const wait = this.#waiting.enter(request.trainer);
    try {
      for (;;) {
        await this.#advance();
        const { state } = this.#record();
        const nowMs = Date.now();
        if (hasEnded(state) || !wait.isCurrent()) {
          return { state, lease: null };
        }
        const lease = this.#take(request);
        if (lease || nowMs >= endMs) return { state, lease };
        const untilMs = Math.min(endMs, this.#stepWork().firstDeadlineMs);
        await wait.sleep(Math.max(1, untilMs - nowMs));
      }
    } finally {
      wait.leave();
    }
  }

  /** A microbatch is computed, and every shard has acknowledged its push. */
  async complete(
    kind: LeaseKind,
    step: number,
    index: number,
    completion: Completion,
  ): Promise<CompletionResponse> {
    const record = this.#record();
    checkMicrobatch(record.config, kind, step, index);
    const known = this.#store.completion(kind, step, index);
    if (known) {
      checkSame(known, completion);
    } else {
      checkOpen(record, step);
      const nowMs = Date.now();
      this.#storage.transactionSync(() => {
        this.#roster.completed(completion.trainer, nowMs);
        this.#store.addCompletion(kind, step, index, completion);
      });
      const tookMs = this.#stepWork().complete({ kind, index }, nowMs);
      if (tookMs !== undefined) this.#leaseTime.measured(kind, tookMs);
    }
    await this.#advance();
    return {
      state: this.#record().state,
      lease: this.#take(completion),
      duplicate: known !== undefined,
    };
  }

  /** Pause, go on, or cancel. The state that is already so changes nothing. Errors: `wrong_state` */
  async setState(state: StateRequest["state"]): Promise<RunStatus> {
    const record = this.#record();
    if (record.state !== state) {
      if (hasEnded(record.state)) {
        throw new AppError(
          "wrong_state",
          `Expected a run that has not ended, got one that is ${record.state}`,
        );
      }
      this.#changeState(state);
    }
    await this.#advance();
    return this.status();
  }

  metrics(fromStep: number, limit: number): StepMetrics[] {
    this.#record();
    return this.#store.metrics(fromStep, limit);
  }

  /** A push whose bytes differ from those that are stored. */
  reportConflict(shard: number, step: number, microbatch: number): void {
    this.#record();
    this.events.append({ type: "conflict", step, microbatch, shard });
  }

  /** Every shard's parameters of one step, set aside to be read. */
  async pinCheckpoint(): Promise<{ step: number; config: RunConfig }> {
    return this.#lock.run(async () => {
      await this.#finishDue();
      const { step, config, run } = this.#record();
      await allOf(this.#shards(run, config), (shard) => shard.pin(step));
      return { step, config };
    });
  }

  /** Forget the run and its shards. Errors: `run_active` before it has ended */
  async remove(): Promise<void> {
    const { state, run, config } = this.#record();
    if (!hasEnded(state)) {
      throw new AppError(
        "run_active",
        `Expected a run that has ended, got one that is ${state}; cancel it first`,
      );
    }
    await this.#advance();
    await this.#lock.run(async () => {
      await Promise.all(
        this.#shards(run, config).map((shard) => shard.destroy()),
      );
      await directoryStub(this.#bindings).removeRun(run);
      await this.#storage.deleteAlarm();
      await this.#storage.deleteAll();
      this.#store.forget();
      this.#work = undefined;
    });
  }

  /** The state, or undefined when there is no such run. */
  get state(): RunState | undefined {
    return this.#store.find()?.state;
  }

  /** The backup of every call: goes on with what a crash interrupted, and notices who is gone. */
  async alarm(): Promise<void> {
    this.#isAlarmSet = false;
    const record = this.#store.find();
    if (!record || record.settled) return;
    await this.#advance();
    const nowMs = Date.now();
    this.#roster.markLost(
      nowMs,
      (trainer) =>
        this.#waiting.has(trainer) ||
        this.#stepWork().isHolding(trainer, nowMs),
    );
    if (this.#roster.isAttended) await this.#setAlarm();
  }

  #record(): RunRecord {
    const record = this.#store.find();
    if (record) return record;
    throw new AppError(
      "run_not_found",
      "Expected the id of a run, got one that does not exist",
    );
  }

  #checkIn(request: LeaseRequest): void {
    const { fingerprint, state } = this.#record();
    if (hasEnded(state)) return;
    if (fingerprint === null) {
      this.#store.update({ fingerprint: request.fingerprint });
    } else if (fingerprint !== request.fingerprint) {
      throw new AppError(
        "fingerprint_differs",
        `Expected a trainer that computes like the first one, "${fingerprint}"; got "${request.fingerprint}"`,
      );
    }
    if (this.#roster.checkIn(request, Date.now())) {
      this.#stepWork().releaseOtherBoots(request);
      this.#waiting.wakeAll();
    }
  }

  /** A lease for a trainer's present boot, if the run runs and has one. */
  #take(holder: { trainer: string; bootId: string }) {
    if (this.#record().state !== "running") return null;
    if (!this.#roster.isCurrentBoot(holder.trainer, holder.bootId)) return null;
    return this.#stepWork().take(holder, Date.now(), (kind) =>
      this.#leaseTime.durationMs(kind),
    );
  }

  #stepWork(): StepWork {
    const { step, config } = this.#record();
    if (this.#work?.step !== step) {
      this.#work = new StepWork(step, this.#openMicrobatches(step, config));
    }
    return this.#work;
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
  async #advance(): Promise<void> {
    if (!this.#isAdvanceDue()) return;
    this.#advancing ??= this.#lock
      .run(() => this.#finishDue())
      .finally(() => {
        this.#advancing = undefined;
        this.#waiting.wakeAll();
      });
    await this.#advancing;
  }

  /** Called with the lock. */
  async #finishDue(): Promise<void> {
    while (this.#isAdvanceDue()) {
      // Set first, so that a crash on the way is followed up even if nobody calls.
      await this.#setAlarm();
      await this.#advanceOnce(this.#record());
    }
  }

  #isAdvanceDue(): boolean {
    const { initialized, state, settled, step } = this.#record();
    if (!initialized) return true;
    if (hasEnded(state)) return !settled;
    return this.#stepWork().isDone || this.#store.commit(step) !== undefined;
  }

  async #advanceOnce(record: RunRecord): Promise<void> {
    const { run, config, step, state } = record;
    const shards = this.#shards(run, config);
    const commit = this.#store.commit(step);
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
      if (step === config.steps) this.#changeState("finished");
      else await this.#beginCommit(record, shards);
    }
  }

  #endEvaluation(step: number, config: RunConfig): void {
    if (evaluationMicrobatches(config, step) === 0) return;
    if (this.#store.hasEvaluation(step)) return;
    const parts = this.#store.completions("eval", step);
    const valLoss = meanLoss(parts);
    const tokens = parts.reduce((sum, part) => sum + part.tokens, 0);
    this.#storage.transactionSync(() => {
      this.#store.addEvaluation(step, valLoss, Date.now());
      this.events.append({ type: "evaluation", step, valLoss, tokens });
    });
  }

  async #beginCommit(
    { config, step }: RunRecord,
    shards: readonly ShardStub[],
  ): Promise<void> {
    const gradient = await prepareStep(config, step, shards);
    // Cancelled while the shards were asked: nothing is persisted, and nothing is applied.
    if (hasEnded(this.#record().state)) return;
    if (gradient.kind === "diverged") {
      this.#changeState("diverged");
    } else if (gradient.kind === "missing") {
      for (const microbatch of gradient.microbatches) {
        this.#store.removeCompletion(step, microbatch);
      }
      this.#work = undefined;
    } else {
      const parts = this.#store.completions("train", step);
      const tokens = parts.reduce((sum, part) => sum + part.tokens, 0);
      this.#store.addCommit({
        ...gradient.update,
        gradNorm: gradient.gradNorm,
        trainLoss: meanLoss(parts),
        tokens: this.#store.tokensBefore(step) + tokens,
        committedMs: Date.now(),
      });
    }
  }

  /** Every shard has applied the commit. */
  #endStep(commit: CommitRecord): void {
    this.#storage.transactionSync(() => {
      this.#store.update({ step: commit.step + 1 });
      const [metrics] = this.#store.metrics(commit.step, 1);
      this.events.append({ type: "step", metrics: metrics! });
    });
  }

  #changeState(state: RunState): void {
    this.#storage.transactionSync(() => {
      this.#store.update({ state });
      this.events.append({ type: "state", state });
    });
    this.#waiting.wakeAll();
  }

  #shards(run: string, config: RunConfig): ShardStub[] {
    return Array.from({ length: config.shards }, (_, index) =>
      shardStub(this.#bindings, run, index),
    );
  }

  async #setAlarm(): Promise<void> {
    if (this.#isAlarmSet) return;
    this.#isAlarmSet = true;
    await this.#storage.setAlarm(Date.now() + ALARM_MS);
  }
}

function checkMicrobatch(
  config: RunConfig,
  kind: LeaseKind,
  step: number,
  index: number,
): void {
  const training = step < config.steps ? config.microbatches : 0;
  const count =
    kind === "train" ? training : evaluationMicrobatches(config, step);
  if (index < count) return;
  throw new AppError(
    "invalid_number",
    `Expected one of the ${count} ${kind} microbatches of step ${step}, got ${index}`,
  );
}

function checkSame(
  known: { lossSum: number | null; tokens: number },
  { lossSum, tokens }: Completion,
): void {
  if (known.lossSum === lossSum && known.tokens === tokens) return;
  throw new AppError(
    "different_completion",
    `Expected the values that this microbatch already has, loss sum ${known.lossSum} over ${known.tokens} tokens; got ${lossSum} over ${tokens}`,
  );
}

function checkOpen({ state, step: current }: RunRecord, step: number): void {
  if (hasEnded(state)) {
    throw new AppError(
      "run_ended",
      `Expected a run that has not ended, got one that is ${state}`,
    );
  }
  if (step > current) {
    throw new AppError(
      "future_step",
      `Expected step ${current}, where the run is; got ${step}, which it has not reached`,
    );
  }
  if (step < current) {
    throw new AppError(
      "step_gone",
      `Expected step ${current}, where the run is; got ${step}, which is past`,
    );
  }
}
