/**
 * What a run answers: who computes what, and where it is. Gradients and parameters go between
 * trainers and shards; only leases, completions and norms come here.
 */
import { AppError } from "../../api/errors.ts";
import {
  type AuthorState,
  type Completion,
  type CompletionResponse,
  hasEnded,
  type JoinToken,
  type Lease,
  type LeaseKind,
  type LeaseRequest,
  type LeaseResponse,
  type RunConfig,
  type RunState,
  type RunStatus,
  type StateRequest,
  type StepMetrics,
  type StepRecord,
} from "../../api/types.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { allOf, runRanges } from "./commit.ts";
import {
  authorOf,
  authorOfKey,
  checkCreation,
  leaseKey,
  newRunKeys,
  OWNER,
  tokenId,
} from "../platform/author.ts";
import { Agreement } from "./agreement.ts";
import { AuthorStore } from "./author-store.ts";
import { says } from "./ballot-store.ts";
import { resultsOf } from "./chain.ts";
import {
  checkCounts,
  checkMicrobatch,
  checkOpen,
  differentCompletion,
  readTold,
} from "./completion-checks.ts";
import { directoryStub } from "../directory/directory.ts";
import { readTokenizer } from "../directory/stored-dataset.ts";
import { EventLog } from "./event-log.ts";
import { RunStore } from "./run-store.ts";
import { outdatedRun } from "../platform/schema.ts";
import { RunProgress } from "./run-progress.ts";
import type { Given, Holder } from "./step-leases.ts";
import { rosterName, TrainerRoster } from "./trainer-roster.ts";
import { TrainerStore } from "./trainer-store.ts";
import { requiredAuthors } from "./verification.ts";
import { WaitingRoom } from "./waiting-room.ts";

/** A long poll: short of the timeouts that lie between. */
const MAX_WAIT_MS = 10_000;
const MIN_SLEEP_MS = 20;

export class RunControl {
  readonly #storage: DurableObjectStorage;
  readonly #bindings: ObjectBindings;
  readonly #store: RunStore;
  readonly events: EventLog;
  readonly #authors: AuthorStore;
  readonly #agreement: Agreement;
  readonly #roster: TrainerRoster;
  readonly #waiting = new WaitingRoom();
  readonly #progress: RunProgress;

  constructor(storage: DurableObjectStorage, bindings: ObjectBindings) {
    this.#storage = storage;
    this.#bindings = bindings;
    this.#store = new RunStore(storage);
    this.#authors = new AuthorStore(storage.sql);
    this.events = new EventLog(storage.sql);
    this.#roster = new TrainerRoster(
      new TrainerStore(storage.sql),
      this.events,
    );
    this.#progress = new RunProgress(
      storage,
      bindings,
      this.#store,
      this.#authors,
      this.events,
      () => this.#waiting.wakeAll(),
    );
    this.#agreement = new Agreement(
      this.#store,
      this.#authors,
      this.events,
      () => this.#progress.leases(),
      (nowMs) =>
        this.#roster.authors(nowMs, (trainer) => this.#isBusy(trainer, nowMs)),
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
        this.#store.create(run, config, tokenizer, newRunKeys(), Date.now());
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

  /** Errors: `unauthorized`, the caller's token is not of this run, or revoked; `forbidden`, under quarantine */
  status(caller = OWNER): RunStatus {
    this.#admit(caller);
    const { run, state, step, config, fingerprint, createdMs } =
      this.#progress.record();
    return {
      run,
      state,
      step,
      config,
      fingerprint,
      ...runRanges(config),
      trainers: this.#roster.statuses(),
      ...this.#store.history.latestLosses(step),
      createdMs,
    };
  }

  /** The next lease; waits up to `MAX_WAIT_MS` for one. Errors: `fingerprint_differs`, those of `status` */
  async lease(caller: string, request: LeaseRequest): Promise<LeaseResponse> {
    const endMs = Date.now() + MAX_WAIT_MS;
    const holder = this.#holderOf(caller, request);
    await this.#checkFingerprint(caller, request.fingerprint);
    this.#checkIn(holder);
    await this.#progress.watch();
    const wait = this.#waiting.enter(holder.trainer);
    try {
      for (;;) {
        await this.#progress.advance();
        this.#authors.check(holder.author);
        const { state } = this.#progress.record();
        const nowMs = Date.now();
        if (hasEnded(state) || !wait.isCurrent()) {
          return { state, lease: null };
        }
        const lease = this.#take(holder);
        if (lease) return { state, lease: await this.#withKey(holder, lease) };
        if (nowMs >= endMs) return { state, lease: null };
        await wait.sleep(this.#sleepMs(holder, state, endMs - nowMs));
      }
    } finally {
      wait.leave();
    }
  }

  /** An author tells what a microbatch came to, once every shard has acknowledged its push. */
  async complete(
    caller: string,
    kind: LeaseKind,
    step: number,
    index: number,
    completion: Completion,
    key: string | undefined,
  ): Promise<CompletionResponse> {
    const { config, keys } = this.#progress.record();
    checkMicrobatch(config, kind, step, index);
    const leased = { kind, step, index };
    const [author, required] = await Promise.all([
      this.#authorOfKey(caller, leased, key),
      requiredAuthors(config, keys, leased),
    ]);
    // After the last wait: what is decided from here on is decided at once.
    const record = this.#progress.record();
    const told = readTold(record.config, kind, completion);
    const holder = this.#holderOf(caller, completion);
    if (holder.author !== author) {
      throw new AppError(
        "no_lease",
        `Expected the key of a lease of "${holder.author}", got one of "${author}"`,
      );
    }
    const isOver =
      step < record.step || this.#store.history.commit(step) !== undefined;
    const known = this.#store.ballots.of(leased, step);
    const own =
      known.find((each) => each.author === author) ??
      (isOver ? known[0] : undefined);
    const nowMs = Date.now();
    if (own) {
      if (says(own) !== says(told)) {
        this.#storage.transactionSync(() =>
          this.#agreement.contradicted(leased, step, author, nowMs),
        );
        throw differentCompletion(own, told);
      }
    } else {
      checkOpen(record, step);
      checkCounts(record.config, kind, index, completion);
      const tookMs = this.#progress.leases().tookMs(leased, holder, nowMs);
      this.#storage.transactionSync(() => {
        this.#roster.completed(holder.trainer, kind, tookMs, nowMs);
        this.#agreement.cast(leased, { ...told, author, required }, nowMs);
      });
    }
    await this.#progress.advance();
    const lease = this.#take(holder);
    return {
      state: this.#progress.record().state,
      lease: lease && (await this.#withKey(holder, lease)),
      duplicate: known.some((each) => says(each) === says(told)),
    };
  }

  /** A trainer goes: what it holds is open again. Repeating it changes nothing. */
  leave(
    caller: string,
    request: Pick<LeaseRequest, "trainer" | "bootId">,
  ): void {
    const holder = this.#holderOf(caller, request);
    if (!this.#roster.isCurrentBoot(holder.trainer, holder.bootId)) return;
    this.#roster.left(holder.trainer);
    if (this.#progress.leases().release(holder)) this.#waiting.wakeAll();
  }

  /** A token with which trainers elsewhere join this run, for `expiresInMs`. */
  issueToken(expiresInMs: number) {
    const { keys } = this.#progress.record();
    return this.#authors.issue(
      (n) => tokenId(keys, n),
      Date.now(),
      expiresInMs,
    );
  }

  tokens(): JoinToken[] {
    this.#progress.record();
    return this.#authors.all();
  }

  /** Revoke a token, told by its id or its number, or take it back from quarantine. Errors: `token_not_found` */
  async setTokenState(
    asked: string,
    state: Exclude<AuthorState, "quarantined">,
  ): Promise<JoinToken> {
    const { keys } = this.#progress.record();
    const id = /^\d+$/.test(asked) ? tokenId(keys, Number(asked)) : asked;
    if (!this.#authors.has(id)) {
      throw new AppError(
        "token_not_found",
        `Expected the id of a join token of this run, got "${asked}"`,
      );
    }
    const find = () => this.#authors.all().find((token) => token.id === id)!;
    if (find().state !== state) {
      this.#storage.transactionSync(() => {
        if (state === "active") {
          this.#authors.setState(id, state);
          this.events.append({ type: "author", author: id, state });
        } else this.#agreement.exclude(id, state, Date.now());
      });
      this.#waiting.wakeAll();
      await this.#progress.advance();
    }
    return find();
  }

  /** The dataset that a join token reads. Errors: as `status` */
  datasetName(caller: string): string {
    return this.status(caller).config.dataset.name;
  }

  /** What trainers must compute like; null for what the next one brings. Errors: `wrong_state` */
  async setFingerprint(fingerprint: string | null): Promise<RunStatus> {
    await this.#progress.changeFingerprint(fingerprint, null);
    return this.status();
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

  /** What was told of a step, so far or until it was committed. Errors: `future_step` */
  async stepRecord(step: number): Promise<StepRecord> {
    const { step: current } = this.#progress.record();
    if (step > current) {
      throw new AppError(
        "future_step",
        `Expected a step up to ${current}, where the run is, got ${step}`,
      );
    }
    const told = this.#store.ballots.ofStep("train", step);
    const commit = this.#store.history.commit(step);
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
            before: await this.#progress.linkBefore(step),
          }
        : null,
    };
  }

  /** A shard has other bytes of this author, or has committed others. Errors: `no_lease` */
  async reportConflict(
    caller: string,
    step: number,
    microbatch: number,
    key: string,
  ): Promise<void> {
    const leased = { kind: "train", step, index: microbatch } as const;
    const author = await this.#authorOfKey(caller, leased, key);
    this.#storage.transactionSync(() =>
      this.#agreement.contradicted(leased, step, author, Date.now()),
    );
    await this.#progress.advance();
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
    this.#roster.markLost(nowMs, (trainer) => this.#isBusy(trainer, nowMs));
    this.#storage.transactionSync(() => this.#agreement.decideOpen(nowMs));
    await this.#progress.advance();
    if (this.#roster.isAttended) await this.#progress.watch();
  }

  /** Errors: as `status` */
  #admit(caller: string): void {
    checkCreation(this.#progress.record().keys, caller);
    this.#authors.check(caller);
  }

  /** Errors: as `status` */
  #holderOf(
    caller: string,
    { trainer, bootId }: Pick<LeaseRequest, "trainer" | "bootId">,
  ): Holder {
    this.#admit(caller);
    const author = authorOf(caller, trainer);
    this.#authors.check(author);
    return { trainer: rosterName(caller, trainer), bootId, author };
  }

  #authorOfKey(
    caller: string,
    leased: Omit<Given, "deadlineMs">,
    key: string | undefined,
  ): Promise<string> {
    return authorOfKey(this.#progress.record().keys, caller, leased, key);
  }

  async #withKey({ author }: Holder, given: Given): Promise<Lease> {
    const { keys } = this.#progress.record();
    return { ...given, key: await leaseKey(keys, author, given) };
  }

  #isBusy(trainer: string, nowMs: number): boolean {
    return (
      this.#waiting.has(trainer) ||
      this.#progress.leases().isHolding(trainer, nowMs)
    );
  }

  /** The first trainer's counts; what a join token's has set, one of the owner's replaces. Errors: `fingerprint_differs` */
  async #checkFingerprint(caller: string, offered: string): Promise<void> {
    const { fingerprint, fingerprintBy, state } = this.#progress.record();
    if (hasEnded(state)) return;
    const by = caller === OWNER ? null : caller;
    if (fingerprint === null) {
      this.#store.update({ fingerprint: offered, fingerprintBy: by });
    } else if (fingerprint !== offered) {
      if (by === null && fingerprintBy !== null) {
        await this.#progress.changeFingerprint(offered, by);
        return;
      }
      throw new AppError(
        "fingerprint_differs",
        `Expected a trainer that computes like the ${fingerprintBy === null ? "owner's" : "first"}, "${fingerprint}"; got "${offered}". The run's owner may set or reset it`,
      );
    } else if (by === null && fingerprintBy !== null) {
      this.#store.update({ fingerprintBy: by });
    }
  }

  #checkIn(holder: Holder): void {
    if (hasEnded(this.#progress.record().state)) return;
    if (this.#roster.checkIn(holder, Date.now())) {
      this.#progress.leases().releaseOtherBoots(holder);
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
  #take(holder: Holder): Given | null {
    if (this.#progress.record().state !== "running") return null;
    if (!this.#roster.isCurrentBoot(holder.trainer, holder.bootId)) return null;
    const nowMs = Date.now();
    const leases = this.#progress.leases();
    const lapsed = leases.lapse(nowMs);
    for (const { trainer } of lapsed) this.#roster.lapsed(trainer, nowMs);
    if (lapsed.length > 0)
      this.#storage.transactionSync(() => this.#agreement.decideOpen(nowMs));
    if (!this.#authors.isActive(holder.author)) return null;
    if (this.#roster.penaltyEndMs(holder.trainer) > nowMs) return null;
    return leases.take(holder, nowMs, this.#roster.pace);
  }
}
