/**
 * What a run answers: who computes what, and where it is. Gradients and parameters go between
 * trainers and shards; only leases, completions and norms come here.
 */
import { AppError } from "../../api/errors.ts";
import {
  type Completion,
  type CompletionResponse,
  hasEnded,
  type Lease,
  type LeaseKind,
  type LeaseRequest,
  type LeaseResponse,
  type RunConfig,
  type RunState,
  type RunStatus,
  type StateRequest,
  type StepMetrics,
} from "../../api/types.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { allOf, runRanges } from "./commit.ts";
import {
  checkCounts,
  checkMicrobatch,
  checkOpen,
  checkSame,
  readLossSum,
} from "./completion-checks.ts";
import { directoryStub } from "../directory/directory.ts";
import { readTokenizer } from "../directory/stored-dataset.ts";
import { EventLog } from "./event-log.ts";
import { RunStore } from "./run-store.ts";
import { outdatedRun } from "../platform/schema.ts";
import { RunProgress } from "./run-progress.ts";
import type { Holder } from "./step-leases.ts";
import { TrainerRoster } from "./trainer-roster.ts";
import { TrainerStore } from "./trainer-store.ts";
import { WaitingRoom } from "./waiting-room.ts";

/** A long poll: short of the timeouts that lie between. */
const MAX_WAIT_MS = 10_000;
const MIN_SLEEP_MS = 20;

export class RunControl {
  readonly #storage: DurableObjectStorage;
  readonly #bindings: ObjectBindings;
  readonly #store: RunStore;
  readonly events: EventLog;
  readonly #roster: TrainerRoster;
  readonly #waiting = new WaitingRoom();
  readonly #progress: RunProgress;

  constructor(storage: DurableObjectStorage, bindings: ObjectBindings) {
    this.#storage = storage;
    this.#bindings = bindings;
    this.#store = new RunStore(storage);
    this.events = new EventLog(storage.sql);
    this.#roster = new TrainerRoster(
      new TrainerStore(storage.sql),
      this.events,
    );
    this.#progress = new RunProgress(
      storage,
      bindings,
      this.#store,
      this.events,
      () => this.#waiting.wakeAll(),
    );
  }

  /** Begin. The same run again changes nothing. Errors: `wrong_state`, another run has this id */
  async create(
    run: string,
    config: RunConfig,
  ): Promise<{ created: boolean; status: RunStatus }> {
    const tokenizer = await this.#readTokenizer(config);
    const present = this.#store.find();
    if (!present) {
      this.#storage.transactionSync(() => {
        this.#store.create(run, config, tokenizer, Date.now());
        this.events.append({ type: "state", state: "running" });
      });
    } else if (present.outdated) {
      throw outdatedRun();
    } else if (JSON.stringify(present.config) !== JSON.stringify(config)) {
      throw new AppError(
        "wrong_state",
        `Expected a new run id, or the config that run "${run}" already has`,
      );
    }
    await this.#progress.advance();
    return { created: present === undefined, status: this.status() };
  }

  status(): RunStatus {
    const { run, state, step, config, createdMs } = this.#progress.record();
    return {
      run,
      state,
      step,
      config,
      ...runRanges(config),
      trainers: this.#roster.statuses(),
      ...this.#store.history.latestLosses(step),
      createdMs,
    };
  }

  /** The next lease; waits up to `MAX_WAIT_MS` for one. Errors: `fingerprint_differs` */
  async lease(request: LeaseRequest): Promise<LeaseResponse> {
    const endMs = Date.now() + MAX_WAIT_MS;
    this.#checkIn(request);
    await this.#progress.watch();
    const wait = this.#waiting.enter(request.trainer);
    try {
      for (;;) {
        await this.#progress.advance();
        const { state } = this.#progress.record();
        const nowMs = Date.now();
        if (hasEnded(state) || !wait.isCurrent()) {
          return { state, lease: null };
        }
        const lease = this.#take(request);
        if (lease || nowMs >= endMs) return { state, lease };
        await wait.sleep(this.#sleepMs(request, state, endMs - nowMs));
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
    const record = this.#progress.record();
    checkMicrobatch(record.config, kind, step, index);
    const said = readLossSum(record.config, completion);
    const known = this.#store.completion(kind, step, index);
    if (known) {
      checkSame(known, said);
    } else {
      checkOpen(record, step);
      checkCounts(record.config, kind, index, completion);
      const nowMs = Date.now();
      const { trainer } = completion;
      const leases = this.#progress.leases();
      const tookMs = leases.tookMs({ kind, index }, completion, nowMs);
      this.#storage.transactionSync(() => {
        this.#roster.completed(trainer, kind, tookMs, nowMs);
        this.#store.addCompletion(kind, step, index, said);
      });
      leases.complete({ kind, index });
    }
    await this.#progress.advance();
    return {
      state: this.#progress.record().state,
      lease: this.#take(completion),
      duplicate: known !== undefined,
    };
  }

  /** A trainer goes: what it holds is open again. Repeating it changes nothing. */
  leave(holder: Holder): void {
    this.#progress.record();
    if (!this.#roster.isCurrentBoot(holder.trainer, holder.bootId)) return;
    this.#roster.left(holder.trainer);
    if (this.#progress.leases().release(holder)) this.#waiting.wakeAll();
  }

  /** Pause, go on, or cancel. The state that is already so changes nothing. Errors: `wrong_state` */
  async setState(state: StateRequest["state"]): Promise<RunStatus> {
    const record = this.#progress.record();
    if (record.state !== state) {
      if (hasEnded(record.state)) {
        throw new AppError(
          "wrong_state",
          `Expected a run that has not ended, got one that is ${record.state}`,
        );
      }
      this.#progress.changeState(state);
    }
    await this.#progress.advance();
    return this.status();
  }

  /** Of an outdated run too. */
  metrics(fromStep: number, limit: number): StepMetrics[] {
    const record = this.#progress.anyRecord();
    return this.#store.history.metrics(record, fromStep, limit);
  }

  /** A push whose bytes differ from those that are stored. */
  reportConflict(shard: number, step: number, microbatch: number): void {
    this.#progress.record();
    this.events.append({ type: "conflict", step, microbatch, shard });
  }

  /** A copy of the dataset's, which may go before the run does; null where tokens are bytes. */
  async #readTokenizer({ dataset }: RunConfig): Promise<string | null> {
    if (dataset.tokenizer === "byte") return null;
    const stored = await directoryStub(this.#bindings).dataset(dataset.name);
    return readTokenizer(this.#bindings.BUCKET, stored);
  }

  /** Every shard's parameters of one step, or all of its state, set aside to be read. */
  async pinCheckpoint(isFull: boolean): Promise<{
    step: number;
    /** Trained on so far. */
    tokens: number;
    config: RunConfig;
    tokenizer: string | null;
  }> {
    return this.#progress.exclusive(async () => {
      const record = this.#progress.record();
      const { step, config } = record;
      await allOf(this.#progress.shards(record), (shard) =>
        shard.pin(step, isFull),
      );
      const tokens = this.#store.history.tokensBefore(record);
      return { step, tokens, config, tokenizer: this.#store.tokenizer() };
    });
  }

  /** Forget the run and its shards. Errors: `run_active` before it has ended */
  async remove(): Promise<void> {
    const record = this.#progress.anyRecord();
    const { state, run } = record;
    if (!hasEnded(state)) {
      throw new AppError(
        "run_active",
        `Expected a run that has ended, got one that is ${state}; cancel it first`,
      );
    }
    await this.#progress.exclusive(async () => {
      await Promise.all(
        this.#progress.shards(record).map((shard) => shard.destroy()),
      );
      await directoryStub(this.#bindings).removeRun(run);
      await this.#storage.deleteAlarm();
      await this.#storage.deleteAll();
      this.#store.forget();
      this.#roster.forget();
      this.#progress.forget();
    });
  }

  /** The state, or undefined when there is no such run. */
  get state(): RunState | undefined {
    return this.#store.find()?.state;
  }

  /** The backup of every call: goes on with what a crash interrupted, and notices who is gone. */
  async alarm(): Promise<void> {
    this.#progress.alarmCame();
    const record = this.#store.find();
    if (!record || record.settled) return;
    if (record.outdated) {
      await directoryStub(this.#bindings).endRun(record.run);
      this.#store.update({ settled: true });
      return;
    }
    await this.#progress.advance();
    const nowMs = Date.now();
    this.#roster.markLost(
      nowMs,
      (trainer) =>
        this.#waiting.has(trainer) ||
        this.#progress.leases().isHolding(trainer, nowMs),
    );
    if (this.#roster.isAttended) await this.#progress.watch();
  }

  #checkIn(request: LeaseRequest): void {
    const { fingerprint, state } = this.#progress.record();
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
      this.#progress.leases().releaseOtherBoots(request);
      this.#waiting.wakeAll();
    }
  }

  /** Until a lease may come free by itself, but no longer than `maxMs`. */
  #sleepMs({ trainer }: Holder, state: RunState, maxMs: number): number {
    if (state !== "running") return maxMs;
    const nowMs = Date.now();
    const penaltyMs = this.#roster.penaltyEndMs(trainer) - nowMs;
    const freeMs =
      penaltyMs > 0
        ? penaltyMs
        : this.#progress.leases().nextMs(nowMs, this.#roster.pace) - nowMs;
    return Math.min(maxMs, Math.max(MIN_SLEEP_MS, freeMs));
  }

  /** A lease for a trainer's present boot, if the run runs and has one. */
  #take(holder: Holder): Lease | null {
    if (this.#progress.record().state !== "running") return null;
    if (!this.#roster.isCurrentBoot(holder.trainer, holder.bootId)) return null;
    const nowMs = Date.now();
    const leases = this.#progress.leases();
    for (const { trainer } of leases.lapse(nowMs)) {
      this.#roster.lapsed(trainer, nowMs);
    }
    if (this.#roster.penaltyEndMs(holder.trainer) > nowMs) return null;
    return leases.take(holder, nowMs, this.#roster.pace);
  }
}
