/** The requests of trainers: take leases, report results, leave. */
import { AppError } from "../../api/errors.ts";
import type {
  Completion,
  CompletionResponse,
  LeaseKind,
  LeaseRequest,
  LeaseResponse,
} from "../../api/lease.ts";
import {
  hasEnded,
  type HostKind,
  type RunState,
} from "../../api/run-status.ts";
import { says } from "../../training/results-digest.ts";
import { checkUnchanged, exclusionsOfKey } from "../platform/author.ts";
import type { Admission } from "./admission.ts";
import {
  checkCounts,
  checkLeasedMicrobatch,
  checkOpen,
  differentCompletion,
  isOpen,
  readTold,
} from "./completion-checks.ts";
import { type RunParts, there } from "./run-parts.ts";
import type { Given, Holder } from "./step-leases.ts";
import { verificationOf } from "./verification.ts";

/** The longest long poll, shorter than the timeouts of anything between. */
const MAX_WAIT_MS = 10_000;
const MIN_SLEEP_MS = 20;

export class LeaseDesk {
  readonly #parts: RunParts;
  readonly #admission: Admission;
  readonly #store: RunParts["store"];
  readonly #authors: RunParts["authors"];
  readonly #roster: RunParts["roster"];
  readonly #waiting: RunParts["waiting"];
  readonly #present: RunParts["present"];
  readonly #progress: RunParts["progress"];
  readonly #agreement: RunParts["agreement"];

  constructor(parts: RunParts, admission: Admission) {
    this.#parts = parts;
    this.#store = parts.store;
    this.#authors = parts.authors;
    this.#roster = parts.roster;
    this.#waiting = parts.waiting;
    this.#present = parts.present;
    this.#progress = parts.progress;
    this.#agreement = parts.agreement;
    this.#admission = admission;
  }

  /** The next lease; waits up to `MAX_WAIT_MS` for one. Errors: `fingerprint_differs`, those of `Admission.admit` */
  async lease(caller: string, request: LeaseRequest): Promise<LeaseResponse> {
    const endMs = Date.now() + MAX_WAIT_MS;
    const holder = this.#admission.holderOf(caller, request);
    await this.#admission.checkFingerprint(caller, request.fingerprint);
    this.#checkIn(holder, request.host ?? null);
    await this.#progress.watch();
    const wait = this.#waiting.enter(holder.trainer);
    try {
      for (;;) {
        await this.#advance();
        // It may have changed while this one waited.
        await this.#admission.checkFingerprint(caller, request.fingerprint);
        this.#authors.check(holder.author);
        const { state } = this.#present.record();
        const nowMs = Date.now();
        if (hasEnded(state) || !wait.isCurrent()) {
          return { state, lease: null };
        }
        const given = await this.#give(holder, request.ahead);
        if (given.lease || nowMs >= endMs) return { state, ...given };
        await wait.sleep(this.#sleepMs(holder, state, endMs - nowMs));
      }
    } finally {
      wait.leave();
    }
  }

  /** Records a result, after every shard has acknowledged its push. */
  async complete(
    caller: string,
    kind: LeaseKind,
    step: number,
    index: number,
    completion: Completion,
    key: string | undefined,
  ): Promise<CompletionResponse> {
    const { config, keys } = this.#present.record();
    const leased = { kind, step, index };
    const [author, asked] = await Promise.all([
      this.#admission.authorOfKey(caller, leased, key),
      verificationOf(config, keys, leased),
    ]);
    // Checked after the key, since a trainer of an earlier run with this id may name a microbatch that this run does
    // not have.
    checkLeasedMicrobatch(config, kind, step, index);
    // Of a step that is over nothing new is accepted, and its dataset may be gone.
    const textBytes = isOpen(this.#present.record(), step)
      ? await this.#parts.textBytes.of(leased)
      : undefined;
    // From here on there is no `await`, so nothing can change before the result is recorded.
    const record = this.#present.record();
    checkUnchanged(keys, record.keys);
    const told = readTold(record.config, kind, completion);
    const holder = this.#admission.holderOf(caller, completion);
    if (holder.author !== author) {
      throw new AppError(
        "no_lease",
        `Expected the key of a lease of "${holder.author}", got one of "${author}"`,
      );
    }
    const isOver = this.#store.history.commit(step) !== undefined;
    const known = this.#store.ballots.of(leased, step);
    const own =
      known.find((each) => each.author === author) ??
      (isOver ? known[0] : undefined);
    const nowMs = Date.now();
    if (own) {
      if (says(own) !== says(told)) {
        this.#present.transaction(() =>
          this.#agreement.contradicted(leased, step, author, nowMs),
        );
        throw differentCompletion(own, told);
      }
    } else {
      checkOpen(record, step);
      this.#authors.checkStayed(author, exclusionsOfKey(key!));
      checkCounts(record.config, kind, index, told, textBytes!);
      const tookMs = this.#present.leases().tookMs(leased, holder, nowMs);
      this.#present.transaction(() => {
        this.#roster.completed(holder, kind, tookMs, nowMs);
        this.#agreement.cast(leased, { ...told, author, ...asked }, nowMs);
      });
    }
    await this.#advance();
    const { state, keys: present } = this.#present.record();
    // With new keys trainers may have to compute like another: who asks for a lease tells what it computes like.
    const isAsBefore = present.secret === keys.secret;
    return {
      state,
      ...(isAsBefore
        ? await this.#give(holder, completion.ahead)
        : { lease: null }),
      duplicate: known.some((each) => says(each) === says(told)),
    };
  }

  /** A trainer leaves: its leases are free at once. Idempotent. */
  leave(
    caller: string,
    request: Pick<LeaseRequest, "trainer" | "bootId">,
  ): void {
    const holder = this.#admission.holderOf(caller, request);
    if (!this.#roster.isCurrentBoot(holder.trainer, holder.bootId)) return;
    this.#roster.left(holder.trainer);
    if (this.#present.leases().release(holder)) this.#waiting.wakeAll();
  }

  /** A shard received other bytes than this author pushed before, or than were committed. Errors: `no_lease` */
  async reportConflict(
    caller: string,
    step: number,
    microbatch: number,
    key: string,
  ): Promise<void> {
    const leased = { kind: "train", step, index: microbatch } as const;
    const author = await this.#admission.authorOfKey(caller, leased, key);
    this.#present.transaction(() =>
      this.#agreement.contradicted(leased, step, author, Date.now()),
    );
    await this.#progress.advance();
  }

  /** Advances the run, and makes draws that are due; a draw may end the step. */
  async #advance(): Promise<void> {
    await this.#progress.advance();
    const nowMs = Date.now();
    if (!this.#present.leases().anyDrawDue(nowMs)) return;
    this.#present.transaction(() => this.#agreement.drawDue(nowMs));
    await this.#progress.advance();
  }

  #checkIn(holder: Holder, host: HostKind | null): void {
    if (hasEnded(this.#present.record().state)) return;
    if (this.#roster.checkIn(holder, host, Date.now())) {
      this.#present.leases().releaseOtherBoots(holder);
      this.#waiting.wakeAll();
    }
  }

  /** The time until a lease may become free without any request, at most `maxMs`. */
  #sleepMs({ trainer }: Holder, state: RunState, maxMs: number): number {
    if (state !== "running") return maxMs;
    const nowMs = Date.now();
    const penaltyMs = this.#roster.penaltyEndMs(trainer) - nowMs;
    const freeMs =
      penaltyMs > 0
        ? penaltyMs
        : this.#present.leases().nextMs(nowMs, this.#roster.pace) - nowMs;
    return Math.min(maxMs, Math.max(MIN_SLEEP_MS, freeMs));
  }

  /** Gives a trainer a lease, and a second one if it asked for it. */
  async #give(
    holder: Holder,
    wantsAhead = false,
  ): Promise<Pick<LeaseResponse, "lease" | "ahead">> {
    const given = this.#take(holder);
    if (!given) return { lease: null };
    const next = wantsAhead ? this.#takeAhead(holder) : null;
    const [lease, ahead] = await Promise.all(
      [given, ...(next ? [next] : [])].map((each) =>
        this.#admission.withKey(holder, each),
      ),
    );
    return { lease: lease!, ...(ahead && { ahead }) };
  }

  #takeAhead(holder: Holder): Given | null {
    const nowMs = Date.now();
    const leases = this.#present.leases();
    const holders = leases.holders();
    const others = there(this.#parts, nowMs).filter(
      ({ name }) => !holders.has(name),
    );
    return leases.takeAhead(holder, nowMs, this.#roster.pace, others.length);
  }

  /** A lease for a trainer's present boot, if the run is running and has one. */
  #take(holder: Holder): Given | null {
    if (this.#present.record().state !== "running") return null;
    if (!this.#roster.isCurrentBoot(holder.trainer, holder.bootId)) return null;
    const nowMs = Date.now();
    const leases = this.#present.leases();
    const lapsed = new Set(leases.lapse(nowMs).map(({ trainer }) => trainer));
    for (const trainer of lapsed) this.#roster.lapsed(trainer, nowMs);
    if (leases.fallSilent(nowMs))
      this.#present.transaction(() => this.#agreement.decideOpen(nowMs));
    if (!this.#authors.isActive(holder.author)) return null;
    if (this.#roster.penaltyEndMs(holder.trainer) > nowMs) return null;
    return leases.take(holder, nowMs, this.#roster.pace);
  }
}
