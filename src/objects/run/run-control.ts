/**
 * The requests of a run's owner: status, state, history, checkpoints. Trainers' requests go to `desk`. Gradients and
 * parameters go directly between trainers and shards; only leases, completions and norms come here.
 */
import { AppError } from "../../api/errors.ts";
import type { RunConfig } from "../../api/run-config.ts";
import type { StepMetrics, StepRecord } from "../../api/run-metrics.ts";
import {
  hasEnded,
  type RunState,
  type RunStatus,
  type StateRequest,
} from "../../api/run-status.ts";
import { directoryStub } from "../directory/directory.ts";
import { readTokenizer } from "../directory/stored-dataset.ts";
import { newRunKeys, OWNER } from "../platform/author.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { outdatedRun } from "../platform/schema.ts";
import { checkTimeline, timelineOf } from "../shard/pinned-state.ts";
import { Admission } from "./admission.ts";
import { resultsOf } from "./ballot-store.ts";
import type { Link } from "../../training/results-digest.ts";
import { allOf, runRanges } from "./commit.ts";
import type { EventLog } from "./event-log.ts";
import { changeFingerprint } from "./fingerprint-change.ts";
import {
  checkReached,
  checkStateStep,
  rewind,
  stateSteps,
} from "./past-steps.ts";
import { JoinTokens } from "./join-tokens.ts";
import { LeaseDesk } from "./lease-desk.ts";
import { checkNotEnded } from "./present-step.ts";
import { isBusy, type RunParts, runParts } from "./run-parts.ts";

export class RunControl {
  readonly desk: LeaseDesk;
  readonly tokens: JoinTokens;
  readonly events: EventLog;
  readonly #parts: RunParts;
  readonly #admission: Admission;

  /** `name` is the object's name, used in the error if there is no such run. */
  constructor(
    storage: DurableObjectStorage,
    bindings: ObjectBindings,
    name?: string,
  ) {
    this.#parts = runParts(storage, bindings, name);
    this.#admission = new Admission(this.#parts);
    this.desk = new LeaseDesk(this.#parts, this.#admission);
    this.tokens = new JoinTokens(this.#parts);
    this.events = this.#parts.events;
  }

  /** Creates the run. Idempotent. Errors: `wrong_state` if another run has this id */
  async create(
    run: string,
    name: string | null,
    config: RunConfig,
  ): Promise<{ created: boolean; status: RunStatus }> {
    const tokenizer = await this.#readTokenizer(config);
    const present = this.#parts.store.find();
    if (!present) {
      this.#parts.storage.transactionSync(() => {
        this.#parts.store.create(
          run,
          name,
          config,
          tokenizer,
          newRunKeys(),
          Date.now(),
        );
        this.#parts.events.append({ type: "state", state: "running" });
      });
    } else if (present.outdated) {
      throw outdatedRun();
    } else if (JSON.stringify(present.config) !== JSON.stringify(config)) {
      throw new AppError(
        "wrong_state",
        `Expected a new run id, or the config that run "${run}" already has, got another config`,
      );
    }
    await this.#parts.progress.advance();
    return { created: present === undefined, status: this.status() };
  }

  /**
   * The run's status. Errors: `unauthorized` if the caller's token is not of this run or is revoked; `forbidden` if
   * it is quarantined
   */
  status(caller = OWNER): RunStatus {
    this.#admission.admit(caller);
    const { run, name, state, step, config, fingerprint, createdMs } =
      this.#parts.present.record();
    return {
      run,
      name,
      state,
      step,
      config,
      fingerprint,
      ...runRanges(config),
      trainers: this.#parts.roster.statuses(),
      ...this.#parts.store.history.latestLosses(step),
      createdMs,
    };
  }

  /** The dataset that a join token may read. Errors: as `status` */
  datasetName(caller: string): string {
    return this.status(caller).config.dataset.name;
  }

  /** Sets the fingerprint that trainers must have; null to take that of the next trainer. Errors: `wrong_state` */
  async setFingerprint(fingerprint: string | null): Promise<RunStatus> {
    await changeFingerprint(this.#parts, fingerprint, null);
    return this.status();
  }

  /** Pauses, resumes or cancels the run. Idempotent. Errors: `wrong_state` */
  async setState(state: StateRequest["state"]): Promise<RunStatus> {
    const record = this.#parts.present.record();
    if (record.state !== state) {
      checkNotEnded(record.state);
      this.#parts.present.changeState(state);
    }
    await this.#parts.progress.advance();
    return this.status();
  }

  /** Also works for an outdated run. */
  metrics(fromStep: number, limit: number): StepMetrics[] {
    const record = this.#parts.present.anyRecord();
    return this.#parts.store.history.metrics(record, fromStep, limit);
  }

  /** The results reported for a step, and its commit if there is one. Errors: `future_step` */
  async stepRecord(step: number): Promise<StepRecord> {
    checkReached(this.#parts.present.record(), step);
    const told = this.#parts.store.ballots.ofStep("train", step);
    const commit = this.#parts.store.history.commit(step);
    return {
      step,
      microbatches: resultsOf(told),
      commit: commit
        ? {
            gradNorm: commit.gradNorm,
            clipCoefficient: commit.clipCoefficient,
            learningRates: commit.learningRates,
            results: commit.link?.results ?? null,
            chain: commit.link?.chain ?? null,
            before: await this.#parts.stepEnd.linkBefore(step),
          }
        : null,
    };
  }

  /** A copy of the dataset's tokenizer, since the dataset may be removed before the run; null if tokens are bytes. */
  async #readTokenizer({ dataset }: RunConfig): Promise<string | null> {
    if (dataset.tokenizer === "byte") return null;
    const stored = await directoryStub(this.#parts.bindings).dataset(
      dataset.name,
    );
    return readTokenizer(this.#parts.bindings.BUCKET, stored);
  }

  /** The steps whose full state is kept, in order; the last is the present one. */
  stateSteps(): Promise<number[]> {
    return this.#parts.progress.exclusive(() => stateSteps(this.#parts));
  }

  /** Rewinds to the last step up to `step` whose state is kept. Errors: as `rewind` */
  async rewind(step: number): Promise<RunStatus> {
    await rewind(this.#parts, step);
    return this.status();
  }

  /**
   * Pins every shard's parameters (or full state) of one step, by default the present one, to be read as a
   * checkpoint. Errors: `future_step`; `step_gone`, also if the wanted timeline is over
   */
  async pinCheckpoint(
    isFull: boolean,
    asked: number | null,
    wanted: string | null,
  ): Promise<{
    step: number;
    /** The result of `timelineOf`. */
    timeline: string;
    /** The digests over the preceding steps (results-digest.ts). */
    link: Link;
    /** Tokens trained on so far. */
    tokens: number;
    config: RunConfig;
    tokenizer: string | null;
  }> {
    return this.#parts.progress.exclusive(async () => {
      const { present, progress, stepEnd, store } = this.#parts;
      const record = present.record();
      const { config } = record;
      const timeline = timelineOf(record.keys, record.rewinds);
      if (wanted !== null) checkTimeline(timeline, wanted);
      const step = asked ?? record.step;
      await checkStateStep(this.#parts, step);
      await allOf(progress.shards(record), (shard) => shard.pin(step, isFull));
      const tokens = store.history.tokensBefore({ config, step });
      const link = await stepEnd.linkBefore(step);
      return {
        step,
        timeline,
        link,
        tokens,
        config,
        tokenizer: store.tokenizer(),
      };
    });
  }

  /** Deletes the run and its shards. Errors: `run_active` if it has not ended */
  async remove(): Promise<void> {
    const record = this.#parts.present.anyRecord();
    const { state, run } = record;
    if (!hasEnded(state)) {
      throw new AppError(
        "run_active",
        `Expected a run that has ended, got one that is ${state}; cancel it first`,
      );
    }
    await this.#parts.progress.exclusive(async () => {
      await Promise.all(
        this.#parts.progress.shards(record).map((shard) => shard.destroy()),
      );
      await directoryStub(this.#parts.bindings).removeRun(run);
      await this.#parts.storage.deleteAlarm();
      await this.#parts.storage.deleteAll();
      this.#parts.store.forget();
      this.#parts.roster.forget();
      this.#parts.present.forget();
      this.#parts.progress.alarmGone();
    });
  }

  /** The run's state; undefined if there is no such run. */
  get state(): RunState | undefined {
    return this.#parts.store.find()?.state;
  }

  /** Called by the alarm: continues what a crash interrupted, and detects trainers that are gone. */
  async alarm(): Promise<void> {
    this.#parts.progress.alarmGone();
    const record = this.#parts.store.find();
    if (!record || record.settled) return;
    if (record.outdated) {
      await directoryStub(this.#parts.bindings).endRun(record.run);
      this.#parts.store.update({ settled: true });
      return;
    }
    await this.#parts.progress.advance();
    const nowMs = Date.now();
    this.#parts.roster.markLost(nowMs, (trainer) =>
      isBusy(this.#parts, trainer, nowMs),
    );
    this.#parts.present.transaction(() =>
      this.#parts.agreement.decideOpen(nowMs),
    );
    await this.#parts.progress.advance();
    if (this.#parts.roster.isAttended) await this.#parts.progress.watch();
  }
}
