/**
 * Decides which result of a microbatch is accepted. By default the first. If more authors are required, or results
 * differ, others compute the microbatch too, and the majority wins (verdict.ts). Authors of other results are
 * quarantined: their results of this step are void, and the microbatches are leased again. So a wrong result costs a
 * recomputation, and only its author is excluded.
 */
import type { AuthorState } from "../../api/run-status.ts";
import { says } from "../../training/results-digest.ts";
import type { AuthorStore } from "./author-store.ts";
import {
  ballotsOf,
  requiredOf,
  seedOf,
  type StoredBallot,
} from "./ballot-store.ts";
import type { EventLog } from "./event-log.ts";
import type { RunStore } from "./run-store.ts";
import type { Pace } from "./pace.ts";
import type { Present } from "./second-draw.ts";
import type { Microbatch, StepLeases } from "./step-leases.ts";
import { verdictOf } from "./verdict.ts";

export class Agreement {
  readonly #store: RunStore;
  readonly #authors: AuthorStore;
  readonly #events: EventLog;
  readonly #leases: () => StepLeases;
  readonly #there: (nowMs: number) => Present[];
  readonly #pace: Pace;
  readonly #onAsk: () => void;
  /** The waits of one step that were already reported as events. */
  #waiting: { step: number; told: Set<string> } = { step: 0, told: new Set() };

  /**
   * `leases` returns those of the present step, `there` the trainers that are present; `onAsk` is called when a
   * microbatch becomes open to other authors.
   */
  constructor(
    store: RunStore,
    authors: AuthorStore,
    events: EventLog,
    leases: () => StepLeases,
    there: (nowMs: number) => Present[],
    pace: Pace,
    onAsk: () => void,
  ) {
    this.#store = store;
    this.#authors = authors;
    this.#events = events;
    this.#leases = leases;
    this.#there = there;
    this.#pace = pace;
    this.#onAsk = onAsk;
  }

  /** Records an author's result for a microbatch of the present step. Called inside a transaction. */
  cast(
    microbatch: Microbatch,
    ballot: Omit<StoredBallot, "counts">,
    nowMs: number,
  ): void {
    const leases = this.#leases();
    const { step } = leases;
    const before = this.#store.ballots.of(microbatch, step);
    // The requirement at the time of the first result: an earlier release may have had another.
    const { required, seed } = before[0] ?? ballot;
    const counts =
      before.length === 0 ||
      seed === null ||
      leases.isDrawn(microbatch, ballot.author);
    const cast = { ...ballot, required, seed, counts };
    this.#store.ballots.add(microbatch, step, cast);
    if (before.some((each) => says(each) !== says(ballot)))
      this.#events.conflict(microbatch, step, ballot.author);
    this.#decide(microbatch, nowMs);
  }

  /**
   * An author reported a result that differs from its own earlier one, or from what was committed. Called inside a
   * transaction.
   */
  contradicted(
    microbatch: Microbatch,
    step: number,
    author: string,
    nowMs: number,
  ): void {
    this.#events.conflict(microbatch, step, author);
    if (!this.#isDecided(step)) this.exclude(author, "quarantined", nowMs);
  }

  /** Excludes an author: its results of this step are void, and later ones are refused. Called inside a transaction. */
  exclude(
    author: string,
    state: Exclude<AuthorState, "active">,
    nowMs: number,
  ): void {
    // A revoked author stays revoked, even if its pending requests would quarantine it.
    if (state === "quarantined" && !this.#authors.isActive(author)) return;
    const { step } = this.#leases();
    // Once a step is committed, its results stay; they all agree.
    const told = this.#store.ballots.microbatchesOf(author, step);
    this.#authors.setState(author, state);
    this.#store.ballots.discard(author);
    this.#events.append({ type: "author", author, state });
    this.#leases().releaseAuthor(author);
    for (const microbatch of told) this.#decide(microbatch, nowMs);
  }

  /** Called when trainers came or went: open disputes may be decidable now. */
  decideOpen(nowMs: number): void {
    for (const microbatch of this.#leases().told())
      this.#decide(microbatch, nowMs);
  }

  /** Draws further authors where the drawn ones are late. Called inside a transaction. */
  drawDue(nowMs: number): void {
    for (const microbatch of this.#leases().told())
      if (this.#draw(microbatch, nowMs)) this.#decide(microbatch, nowMs);
  }

  #decide(microbatch: Microbatch, nowMs: number): void {
    const leases = this.#leases();
    const ballots = this.#store.ballots.of(microbatch, leases.step);
    const told = authorsOf(ballots);
    const others = this.#others(microbatch, told, nowMs);
    const required = requiredOf(this.#store.find()!.config, ballots);
    const verdict = verdictOf(ballotsOf(ballots), required, others);
    if (verdict.kind === "settled") {
      if (verdict.liars.length === 0) leases.complete(microbatch);
      // The majority decides, including results that were not asked for.
      else this.#store.ballots.count(microbatch, leases.step, told);
      // Each exclusion removes a result and decides again; after the last, those that agree remain.
      for (const liar of verdict.liars)
        this.exclude(liar, "quarantined", nowMs);
      return;
    }
    const wanted = verdict.kind === "undecided" ? 1 : verdict.wanted;
    leases.ask(microbatch, wanted, told, seedOf(verdict, ballots));
    // The drawn author may already have reported a result.
    if (this.#draw(microbatch, nowMs)) return this.#decide(microbatch, nowMs);
    this.#onAsk();
    if (told.length > 0 && others === 0)
      this.#tellWaiting(
        microbatch,
        verdict.kind === "undecided" ? "undecided" : "unverified",
      );
  }

  /**
   * Draws the authors that the run asks for further results, if a draw is due. Authors that let a lease of the
   * microbatch lapse are only drawn if there are no others. Returns whether a drawn author had already reported a
   * result.
   */
  #draw(microbatch: Microbatch, nowMs: number): boolean {
    const leases = this.#leases();
    if (!leases.isDrawDue(microbatch, nowMs)) return false;
    const { ballots } = this.#store;
    const told = ballots.of(microbatch, leases.step);
    const counted = authorsOf(told.filter(({ counts }) => counts));
    const others = this.#activeBut(counted, nowMs);
    do {
      const fresh = others.filter(
        ({ author }) =>
          !leases.isSilent(microbatch, author) &&
          !leases.isDrawn(microbatch, author),
      );
      const there = fresh.length > 0 ? fresh : others;
      const drawn = leases.draw(microbatch, there, nowMs, this.#pace);
      if (drawn === undefined) return false;
      this.#onAsk();
      if (authorsOf(told).includes(drawn)) {
        ballots.count(microbatch, leases.step, [drawn]);
        return true;
      }
    } while (leases.isDrawDue(microbatch, nowMs));
    return false;
  }

  /** The number of present authors that could still report a result for the microbatch. */
  #others(
    microbatch: Microbatch,
    told: readonly string[],
    nowMs: number,
  ): number {
    const authors = this.#activeBut(told, nowMs).map(({ author }) => author);
    const leases = this.#leases();
    return [...new Set(authors)].filter(
      (author) => !leases.isSilent(microbatch, author),
    ).length;
  }

  #activeBut(authors: readonly string[], nowMs: number): Present[] {
    const byAuthor = Map.groupBy(this.#there(nowMs), ({ author }) => author);
    return [...byAuthor].flatMap(([author, trainers]) =>
      !authors.includes(author) && this.#authors.isActive(author)
        ? trainers
        : [],
    );
  }

  #isDecided(step: number): boolean {
    return this.#store.history.commit(step) !== undefined;
  }

  /** Reported once per microbatch and reason, or again after an eviction. */
  #tellWaiting(
    { kind, index }: Microbatch,
    reason: "undecided" | "unverified",
  ): void {
    const { step } = this.#leases();
    if (this.#waiting.step !== step) this.#waiting = { step, told: new Set() };
    const key = `${kind} ${index} ${reason}`;
    if (this.#waiting.told.has(key)) return;
    this.#waiting.told.add(key);
    this.#events.append({
      type: "waiting",
      kind,
      step,
      microbatch: index,
      reason,
    });
  }
}

function authorsOf(ballots: readonly StoredBallot[]): string[] {
  return ballots.map(({ author }) => author);
}
