/**
 * Whose word is taken. One author's suffices, unless more are required or they differ: then others compute the
 * microbatch too, the most have it (verdict.ts), and who told otherwise is put under quarantine: what it has told
 * of the step is void, and its other microbatches are open again. So a wrong result costs a microbatch, and ends
 * nobody's part but the liar's.
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
  /** What somebody has been told to be waited for, of one step. */
  #waiting: { step: number; told: Set<string> } = { step: 0, told: new Set() };

  /**
   * `leases` are those of the present step, `there` the trainers that are; `onAsk` is called when a microbatch is open to
   * others.
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

  /** An author tells what a microbatch of the present step came to. Called inside a transaction. */
  cast(
    microbatch: Microbatch,
    ballot: Omit<StoredBallot, "counts">,
    nowMs: number,
  ): void {
    const leases = this.#leases();
    const { step } = leases;
    const before = this.#store.ballots.of(microbatch, step);
    // As was asked when the first told: an earlier release may have asked otherwise.
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

  /** An author tells of a microbatch what it, or a step that is over, has told otherwise. Called inside a transaction. */
  contradicted(
    microbatch: Microbatch,
    step: number,
    author: string,
    nowMs: number,
  ): void {
    this.#events.conflict(microbatch, step, author);
    if (!this.#isDecided(step)) this.exclude(author, "quarantined", nowMs);
  }

  /** Nothing more is taken of an author, nor what it has told of the step. Called inside a transaction. */
  exclude(
    author: string,
    state: Exclude<AuthorState, "active">,
    nowMs: number,
  ): void {
    // One that its owner has revoked stays so, whatever comes of it that was on its way.
    if (state === "quarantined" && !this.#authors.isActive(author)) return;
    const { step } = this.#leases();
    // Of a step that is decided all words stay, and say the same.
    const told = this.#store.ballots.microbatchesOf(author, step);
    this.#authors.setState(author, state);
    this.#store.ballots.discard(author);
    this.#events.append({ type: "author", author, state });
    this.#leases().releaseAuthor(author);
    for (const microbatch of told) this.#decide(microbatch, nowMs);
  }

  /** Who is there has changed: what could not be decided may be now. */
  decideOpen(nowMs: number): void {
    for (const microbatch of this.#leases().told())
      this.#decide(microbatch, nowMs);
  }

  /** Who was drawn for a further word and is late is not waited for alone any longer. Called inside a transaction. */
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
      // The most have told it, whoever was asked.
      else this.#store.ballots.count(microbatch, leases.step, told);
      // Each takes its word back, and the last of them leaves those who agree.
      for (const liar of verdict.liars)
        this.exclude(liar, "quarantined", nowMs);
      return;
    }
    const wanted = verdict.kind === "undecided" ? 1 : verdict.wanted;
    leases.ask(microbatch, wanted, told, seedOf(verdict, ballots));
    // One who has told already may be who is drawn.
    if (this.#draw(microbatch, nowMs)) return this.#decide(microbatch, nowMs);
    this.#onAsk();
    if (told.length > 0 && others === 0)
      this.#tellWaiting(
        microbatch,
        verdict.kind === "undecided" ? "undecided" : "unverified",
      );
  }

  /**
   * Draw whom the run asks for further words, where that is due: of those who let a lease of it lapse only if nobody else is
   * there. Returns whether somebody was drawn who has told it.
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

  /** Authors who are there, and could tell what the microbatch comes to. */
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

  /** Once a microbatch, or again after an eviction. */
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
