/**
 * The leases of one step, in memory: all of its microbatches, training and evaluation, on whose results authors
 * have not agreed; where one suffices, that nobody has completed. Losing this loses nothing: a lease given twice is computed twice, to the same bytes. That
 * is also why nobody waits for one that is slow or gone: whoever may be expected to finish first computes
 * what another holds.
 */
import type { Lease, LeaseKind, LeaseRequest } from "../../api/lease.ts";
import type { Pace } from "./pace.ts";
import { type Present, SecondDraw } from "./second-draw.ts";

export type Microbatch = { kind: LeaseKind; index: number };
/** `trainer` is its name in the roster. */
export type Holder = Pick<LeaseRequest, "trainer" | "bootId"> & {
  author: string;
};
type Boot = Omit<Holder, "author">;
/** What the key of a lease is made for. */
export type Given = Omit<Lease, "key" | "rewinds" | "createdMs">;

type Held = {
  lease: Given;
  holder: Holder;
  startMs: number;
  /** When the trainer began it, or may be expected to; first, whatever boots it has had since. */
  sinceMs: number;
  /** The trainer has another, which it computes first. */
  isAhead: boolean;
};

/** In the order in which they are given, with who computes them. */
type Open = {
  microbatch: Microbatch;
  held: Held[];
  /** So many authors more shall compute it, and none of these, who have. */
  wanted: number;
  told: ReadonlySet<string>;
  /** Only those who are drawn may; null for anyone. */
  draw: SecondDraw | null;
  /** Those who had a lease of it and let it lapse. */
  silent: Set<string>;
  /** When each that is waited for first had it: who lets go and takes it again is waited for no longer. */
  since: Map<string, number>;
};

export class StepLeases {
  readonly step: number;
  #open: Open[];

  constructor(step: number, open: readonly Microbatch[]) {
    this.step = step;
    this.#open = open.map((microbatch) => newlyOpen(microbatch, 1, []));
  }

  /** Whether every microbatch is completed. */
  get isDone(): boolean {
    return this.#open.length === 0;
  }

  /**
   * A lease, or null when there is nothing to give. A trainer computes one at a time: asking again, after
   * an answer was lost, gives it the same.
   */
  take(holder: Holder, nowMs: number, pace: Pace): Given | null {
    const [own] = this.#heldBy(holder);
    if (own) {
      if (own.isAhead) this.#begin(own, nowMs, pace);
      return own.lease;
    }
    for (const { lease, holder, sinceMs } of this.#begun())
      pace.giveUpLate(holder.trainer, lease.kind, sinceMs, nowMs);
    const { author } = holder;
    const untold = this.#open.filter((open) => isFor(open, author));
    const open =
      untold.find(isDrawnFor(author)) ??
      untold.find(({ held }) => held.length === 0) ??
      untold.find(({ held, wanted }) => {
        const authors = new Set(held.map((each) => each.holder.author));
        return authors.size < wanted && !authors.has(author);
      }) ??
      untold
        .filter(({ microbatch: { kind }, held }) => {
          const doneMs = nowMs + (pace.expectedMs(holder.trainer, kind) ?? 0);
          return held.every(
            ({ holder: { trainer }, sinceMs }) =>
              pace.finishMs(trainer, kind, sinceMs, nowMs) > doneMs,
          );
        })
        .sort((a, b) => a.held.length - b.held.length)[0];
    if (!open) return null;
    const { kind } = open.microbatch;
    const held = this.#give(open, holder, nowMs, nowMs + pace.leaseMs(kind));
    this.#begin(held, nowMs, pace);
    return held.lease;
  }

  /**
   * The lease that a trainer computes after the one that it has, or null. It is of a microbatch that nobody has, and that
   * so many `others`, who have nothing, leave over, or one that its author is drawn for; and goes only to one of whom
   * something is expected.
   */
  takeAhead(
    holder: Holder,
    nowMs: number,
    pace: Pace,
    others: number,
  ): Given | null {
    const [own, ahead] = this.#heldBy(holder);
    if (!own || ahead) return ahead?.lease ?? null;
    const { author } = holder;
    const untold = this.#open.filter((each) => isFor(each, author));
    const [free, ...rest] = untold.filter(({ held }) => held.length === 0);
    const open =
      untold.find(isDrawnFor(author)) ??
      (rest.length < others ? undefined : free);
    if (!open) return null;
    const { kind } = own.lease;
    if (pace.finishMs(holder.trainer, kind, nowMs, nowMs) === Infinity)
      return null;
    const deadlineMs = own.lease.deadlineMs + pace.leaseMs(kind);
    const given = this.#give(open, holder, nowMs, deadlineMs);
    // Of what came of the first it tells while it computes this one.
    given.sinceMs = own.sinceMs + pace.expectedMs(holder.trainer, kind)!;
    return given.lease;
  }

  /** Who holds something. */
  holders(): Set<string> {
    return new Set(this.#all().map(({ holder }) => holder.trainer));
  }

  /** When `take` may have something for one that got nothing at `nowMs`, if nobody completes; Infinity for never. */
  nextMs(nowMs: number, pace: Pace): number {
    const times = this.#open.flatMap(({ microbatch: { kind }, held, draw }) => [
      ...(draw ? draw.lateMs() : []),
      // It is given once nobody who has it is expected any more.
      ...held
        .map(({ holder, sinceMs }) =>
          pace.patienceEndMs(holder.trainer, kind, sinceMs),
        )
        .sort((a, b) => b - a)
        .slice(0, 1),
      ...held.map(({ lease }) => lease.deadlineMs),
    ]);
    return Math.min(Infinity, ...times.filter((ms) => ms > nowMs));
  }

  /** It is completed, by whomever. */
  complete(microbatch: Microbatch): void {
    this.#open = this.#open.filter((open) => !isOf(open, microbatch));
  }

  /**
   * So many authors more shall compute it, and none of those who have told a result; where there is a `seed`, those whom
   * it draws (`draw`).
   */
  ask(
    microbatch: Microbatch,
    wanted: number,
    told: readonly string[],
    seed: number | null = null,
  ): void {
    const known = this.#find(microbatch);
    const open = known ?? newlyOpen(microbatch, wanted, told);
    if (!known) this.#open.push(open);
    open.wanted = wanted;
    open.told = new Set(told);
    open.held = open.held.filter(({ holder }) => !open.told.has(holder.author));
    if (seed === null) open.draw = null;
    else open.draw ??= new SecondDraw(microbatch.kind, seed);
    for (const author of told) open.draw?.over(author);
  }

  /** Whether one more author is to be drawn for any. */
  anyDrawDue(nowMs: number): boolean {
    return this.#open.some((open) => isDrawDue(open, nowMs));
  }

  isDrawDue(microbatch: Microbatch, nowMs: number): boolean {
    const open = this.#find(microbatch);
    return open !== undefined && isDrawDue(open, nowMs);
  }

  /** Who of those `there` is asked now, as `SecondDraw.draw`. */
  draw(
    microbatch: Microbatch,
    there: readonly Present[],
    nowMs: number,
    pace: Pace,
  ): string | undefined {
    const open = this.#find(microbatch);
    return open?.draw?.draw(open.wanted, there, nowMs, pace);
  }

  /** Whether an author was drawn for it. */
  isDrawn(microbatch: Microbatch, author: string): boolean {
    return this.#find(microbatch)?.draw?.isDrawn(author) ?? false;
  }

  /** Those of which somebody has told, and not enough. */
  told(): Microbatch[] {
    return this.#open
      .filter(({ told }) => told.size > 0)
      .map(({ microbatch }) => microbatch);
  }

  /** Whether an author had a lease of it and let it lapse. */
  isSilent(microbatch: Microbatch, author: string): boolean {
    return this.#find(microbatch)?.silent.has(author) ?? false;
  }

  /** How long a trainer has had its lease of a microbatch; undefined when it has none. */
  tookMs(
    { kind, index }: Microbatch,
    by: Boot,
    nowMs: number,
  ): number | undefined {
    const own = this.#heldBy(by).find(
      ({ lease }) => lease.kind === kind && lease.index === index,
    );
    return own && nowMs - own.startMs;
  }

  /** Ends the leases whose deadline has come; returns who had them. */
  lapse(nowMs: number): Holder[] {
    const isOver = ({ lease }: Held): boolean => lease.deadlineMs <= nowMs;
    for (const { held, silent } of this.#open)
      for (const { holder } of held.filter(isOver)) silent.add(holder.author);
    return this.#end(isOver);
  }

  /** What all of an author's trainers hold is open again. */
  releaseAuthor(author: string): void {
    for (const { draw } of this.#open) draw?.over(author);
    this.#end(({ holder }) => holder.author === author);
  }

  /** What an earlier boot of the trainer holds is open again. */
  releaseOtherBoots({ trainer, bootId }: Boot): void {
    this.#end(
      ({ holder }) => holder.trainer === trainer && holder.bootId !== bootId,
    );
  }

  /** What the trainer holds is open again. Returns whether it held something. */
  release(holder: Boot): boolean {
    return this.#end((held) => isSame(held.holder, holder)).length > 0;
  }

  isHolding(trainer: string, nowMs: number): boolean {
    return this.#all().some(
      ({ holder, lease }) =>
        holder.trainer === trainer && lease.deadlineMs > nowMs,
    );
  }

  #find(microbatch: Microbatch): Open | undefined {
    return this.#open.find((open) => isOf(open, microbatch));
  }

  /** Two at most, that which is ahead last. */
  #heldBy(holder: Boot): Held[] {
    return this.#all()
      .filter((held) => isSame(held.holder, holder))
      .sort((a, b) => Number(a.isAhead) - Number(b.isAhead));
  }

  #begun(): Held[] {
    return this.#all().filter(({ isAhead }) => !isAhead);
  }

  /** One more trainer has it, and has not begun. */
  #give(
    { microbatch, held }: Open,
    holder: Holder,
    nowMs: number,
    deadlineMs: number,
  ): Held {
    const lease = { ...microbatch, step: this.step, deadlineMs };
    const given = { lease, holder, startMs: nowMs, sinceMs: nowMs, isAhead: true }; // prettier-ignore
    held.push(given);
    return given;
  }

  #begin(held: Held, nowMs: number, pace: Pace): void {
    const { lease, holder } = held;
    const { since } = this.#find(lease)!;
    const sinceMs = since.get(holder.trainer) ?? Math.min(nowMs, held.sinceMs);
    if (pace.patienceEndMs(holder.trainer, lease.kind, sinceMs) > nowMs)
      since.set(holder.trainer, sinceMs);
    Object.assign(held, { startMs: nowMs, sinceMs, isAhead: false });
  }

  #all(): Held[] {
    return this.#open.flatMap(({ held }) => held);
  }

  #end(isOver: (held: Held) => boolean): Holder[] {
    const ended = this.#all().filter(isOver);
    for (const open of this.#open) {
      open.held = open.held.filter((held) => !isOver(held));
    }
    return ended.map(({ holder }) => holder);
  }
}

function newlyOpen(
  microbatch: Microbatch,
  wanted: number,
  told: readonly string[],
): Open {
  return {
    microbatch,
    held: [],
    wanted,
    told: new Set(told),
    draw: null,
    silent: new Set(),
    since: new Map(),
  };
}

/** Whether an author may compute it. */
function isFor({ told, draw }: Open, author: string): boolean {
  return !told.has(author) && (draw?.isDrawn(author) ?? true);
}

function isDrawDue({ draw, wanted }: Open, nowMs: number): boolean {
  return draw !== null && draw.isDue(wanted, nowMs);
}

/** Of those that an author may compute, whether it was drawn, and none of its trainers has it. */
function isDrawnFor(author: string): (open: Open) => boolean {
  return ({ draw, held }) =>
    draw !== null && held.every(({ holder }) => holder.author !== author);
}

function isOf({ microbatch }: Open, { kind, index }: Microbatch): boolean {
  return microbatch.kind === kind && microbatch.index === index;
}

function isSame(a: Boot, b: Boot): boolean {
  return a.trainer === b.trainer && a.bootId === b.bootId;
}
