/**
 * Brings a run from step to step: evaluation, two-phase commit, end. Whoever calls finds out what is
 * due from storage and does it, so any call, or the alarm, goes on where a crash left off.
 */
import { AppError } from "../../api/errors.ts";
import type { RunConfig } from "../../api/run-config.ts";
import { hasEnded, type RunState } from "../../api/run-status.ts";
import { evaluationMicrobatches } from "../../training/data.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { meanLoss } from "../../training/step-end.ts";
import { firstLink, type Link, nextLink, resultsOf } from "./chain.ts";
import { allOf, applyStep, initializeShards, prepareStep } from "./commit.ts";
import { directoryStub } from "../directory/directory.ts";
import type { EventLog } from "./event-log.ts";
import { Lock } from "../platform/lock.ts";
import type { CommitRecord } from "./run-history.ts";
import type { RunRecord, RunStore } from "./run-store.ts";
import { type ShardStub, shardStub } from "../shard/shard-stub.ts";
import { outdatedRun } from "../platform/schema.ts";
import type { AuthorStore } from "./author-store.ts";
import { ballotsOf, requiredOf } from "./ballot-store.ts";
import { isOwners, newRunKeys } from "../platform/author.ts";
import { type Microbatch, StepLeases } from "./step-leases.ts";
import { verdictOf } from "./verdict.ts";

const ALARM_MS = 5_000;

export class RunProgress {
  readonly #storage: DurableObjectStorage;
  readonly #bindings: ObjectBindings;
  readonly #store: RunStore;
  readonly #authors: AuthorStore;
  readonly #events: EventLog;
  readonly #onChange: () => void;
  /** Commits and checkpoints exclude each other: a checkpoint is of one step. */
  readonly #lock = new Lock();
  #leases: StepLeases | undefined;
  #advancing: Promise<void> | undefined;
  #isAlarmSet = false;
  /** When the commit began that is under way. */
  #commitBegan: { step: number; ms: number } | undefined;

  /** `onChange` is called when there may be something for those who wait. */
  constructor(
    storage: DurableObjectStorage,
    bindings: ObjectBindings,
    store: RunStore,
    authors: AuthorStore,
    events: EventLog,
    onChange: () => void,
  ) {
    this.#storage = storage;
    this.#bindings = bindings;
    this.#store = store;
    this.#authors = authors;
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
    if (this.#leases?.step !== step)
      this.#leases = this.#readLeases(step, config);
    return this.#leases;
  }

  /** Those on which authors agreed are done; others go on to be asked for the rest. */
  #readLeases(step: number, config: RunConfig): StepLeases {
    const counts = {
      train: step < config.steps ? config.microbatches : 0,
      eval: evaluationMicrobatches(config, step),
    };
    const asked: { microbatch: Microbatch; wanted: number; told: string[] }[] =
      [];
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
        asked.push({
          microbatch: { kind, index },
          wanted: verdict.kind === "undecided" ? 1 : verdict.wanted,
          told: told.map(({ author }) => author),
        });
      }
    }
    const leases = new StepLeases(step, []);
    for (const { microbatch, wanted, told } of asked)
      leases.ask(microbatch, wanted, told);
    return leases;
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

  /**
   * Trainers of another fingerprint take over: what others have told of the present step is void, and so are
   * the keys of its leases. Errors: `wrong_state`, the run has ended
   */
  async changeFingerprint(
    fingerprint: string | null,
    by: string | null,
  ): Promise<void> {
    await this.exclusive(() => {
      const { state, keys, fingerprint: before } = this.record();
      if (hasEnded(state)) {
        throw new AppError(
          "wrong_state",
          `Expected a run that has not ended, got one that is ${state}`,
        );
      }
      if (before === fingerprint) {
        this.#store.update({ fingerprintBy: by });
        return Promise.resolve();
      }
      this.transaction(() => {
        const { secret } = newRunKeys();
        this.#store.update({
          fingerprint,
          fingerprintBy: by,
          keys: { ...keys, secret },
          initialized: false,
        });
        this.#store.ballots.discardAll();
        this.#events.append({ type: "fingerprint", fingerprint });
      });
      this.#leases = undefined;
      return Promise.resolve();
    });
    await this.advance();
  }

  /** What is in memory of what `body` has changed goes with it when it fails. */
  transaction<T>(body: () => T): T {
    try {
      return this.#storage.transactionSync(body);
    } catch (error) {
      this.#store.forget();
      this.forget();
      throw error;
    }
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
      this.leases().isDone ||
      this.#store.history.commit(step) !== undefined ||
      !this.#authors.isTold
    );
  }

  async #advanceOnce(record: RunRecord): Promise<void> {
    const { run, config, keys, step, state } = record;
    const shards = this.shards(record);
    const commit = this.#store.history.commit(step);
    if (!record.initialized) {
      const { rewindTo, rewinds } = record;
      if (rewindTo === null) await initializeShards(config, keys, shards);
      else
        await allOf(shards, (shard) => shard.goBack(rewindTo, keys, rewinds));
      this.#store.update({ initialized: true, rewindTo: null });
    } else if (commit) {
      // Also when the run has ended meanwhile: all shards must be at one step.
      await applyStep(
        commit,
        shards,
        this.#store.ballots.results("train", step),
      );
      this.#endStep(commit);
    } else if (hasEnded(state)) {
      await allOf(shards, (shard) => shard.end());
      await directoryStub(this.#bindings).endRun(run);
      this.#store.update({ settled: true });
    } else if (!this.#authors.isTold) {
      const excluded = this.#authors.excluded();
      await allOf(shards, (shard) => shard.exclude(excluded));
      this.#authors.markTold(excluded);
    } else if (step === config.steps) {
      this.#endEvaluation(step, config);
      this.changeState("finished");
    } else await this.#beginCommit(record, shards);
  }

  #endEvaluation(step: number, config: RunConfig): void {
    if (evaluationMicrobatches(config, step) === 0) return;
    if (this.#store.history.hasEvaluation(step)) return;
    const parts = this.#store.ballots.results("eval", step);
    const loss = meanLoss(parts);
    this.transaction(() => {
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
    this.#commitBegan = { step, ms: Date.now() };
    const results = this.#store.ballots.results("train", step);
    const told = resultsOf(this.#store.ballots.ofStep("train", step));
    const gradient = await prepareStep(config, step, shards, results);
    const link =
      gradient.kind === "update"
        ? await nextLink(
            await this.linkBefore(step),
            told,
            gradient.update,
            gradient.gradNorm,
          )
        : null;
    // Cancelled, or another result was told, while the shards were asked: nothing is persisted or applied.
    if (hasEnded(this.record().state) || !this.leases().isDone) return;
    if (gradient.kind !== "missing") this.#endEvaluation(step, config);
    if (gradient.kind === "diverged") {
      this.changeState("diverged");
    } else if (gradient.kind === "missing") {
      for (const index of gradient.microbatches)
        this.#takeBack({ kind: "train", index }, step);
      this.#leases = undefined;
    } else {
      const tokens = results.reduce((sum, each) => sum + each.tokens, 0);
      this.#store.history.addCommit(
        {
          ...gradient.update,
          gradNorm: gradient.gradNorm,
          trainLoss: meanLoss(results),
          tokens: this.#store.history.tokensBefore({ config, step }) + tokens,
          committedMs: Date.now(),
          link,
        },
        this.#store.ballots.phases(step),
      );
    }
  }

  /** What a step's digests build on; where an earlier release left none, the config's. */
  async linkBefore(step: number): Promise<Link> {
    return (
      this.#store.history.commit(step - 1)?.link ??
      (await firstLink(this.record().config))
    );
  }

  /** A shard has no such gradient as was told of: whoever told so, with a join token, tells no more. */
  #takeBack(microbatch: Microbatch, step: number): void {
    const { kind, index } = microbatch;
    this.transaction(() => {
      for (const { author } of this.#store.ballots.of(microbatch, step)) {
        this.#events.append({
          type: "conflict",
          kind,
          step,
          microbatch: index,
          author,
        });
        if (isOwners(author)) continue;
        this.#authors.setState(author, "quarantined");
        this.#store.ballots.discard(author);
        this.#events.append({ type: "author", author, state: "quarantined" });
      }
      this.#store.ballots.remove(microbatch, step);
    });
  }

  /** Every shard has applied the commit. */
  #endStep(commit: CommitRecord): void {
    const began = this.#commitBegan;
    this.transaction(() => {
      if (began?.step === commit.step)
        this.#store.history.commitTook(commit.step, Date.now() - began.ms);
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
    this.transaction(() => {
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
