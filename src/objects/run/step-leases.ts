/**
 * The leases of one step, in memory: of its microbatches, training and evaluation, whose results are not yet agreed
 * (by default, not yet completed). Losing them loses nothing: a microbatch leased twice is computed twice, to the
 * same bytes. For the same reason nobody waits for a trainer that is slow or gone: its microbatch is also given to
 * whoever is expected to finish earlier.
 */
import type { Lease, LeaseKind, LeaseRequest } from "../../api/lease.ts";
import type { Pace } from "./pace.ts";
import { type Present, SecondDraw } from "./second-draw.ts";

export type Microbatch = { kind: LeaseKind; index: number };
/** The holder of a lease; `trainer` is its name in the roster. */
export type Holder = Pick<LeaseRequest, "trainer" | "bootId"> & {
  author: string;
};
type Boot = Omit<Holder, "author">;
/** A lease without its key. */
export type Given = Omit<Lease, "key" | "rewinds" | "createdMs">;

type Held = {
  lease: Given;
  holder: Holder;
  startMs: number;
  /** When the trainer first began it, or is expected to, even if it has restarted since. */
  sinceMs: number;
  /** Whether the trainer holds another lease that it computes first. */
  isAhead: boolean;
};

/** An open microbatch and its holders, in the order in which leases were given. */
type Open = {
  microbatch: Microbatch;
  held: Held[];
  /** How many more authors are needed; those in `told` have reported a result. */
  wanted: number;
  told: ReadonlySet<string>;
  /** If set, only drawn authors may compute it. */
  draw: SecondDraw | null;
  /** The deadline of each author's first lease of it: releasing it, restarting or another name do not extend it. */
  due: Map<string, number>;
  /** Authors that were due. */
  silent: Set<string>;
  /** When each trainer first had it, so that releasing and taking it again does not extend the wait. */
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
   * A lease, or null if there is none to give. A trainer computes one at a time: if it asks again, after a lost
   * response, it gets the same one.
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
   * A lease to compute after the present one, or null. Only for a trainer that is expected to finish, and only of a
   * microbatch that its author is drawn for, or that nobody holds and the `others` idle trainers leave over.
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
    // The trainer begins this one when it has computed the first, whose result it sends meanwhile.
    given.sinceMs = own.sinceMs + pace.expectedMs(holder.trainer, kind)!;
    return given.lease;
  }

  /** The trainers that hold a lease. */
  holders(): Set<string> {
    return new Set(this.#all().map(({ holder }) => holder.trainer));
  }

  /**
   * When `take` may return a lease to a trainer that got none at `nowMs`, if nothing is completed before; Infinity
   * for never.
   */
  nextMs(nowMs: number, pace: Pace): number {
    const times = this.#open.flatMap(
      ({ microbatch: { kind }, held, draw, due }) => [
        ...(draw ? draw.lateMs() : []),
        // A held microbatch is given again once none of its holders is expected to finish.
        ...held
          .map(({ holder, sinceMs }) =>
            pace.patienceEndMs(holder.trainer, kind, sinceMs),
          )
          .sort((a, b) => b - a)
          .slice(0, 1),
        ...held.map(({ lease }) => lease.deadlineMs),
        ...due.values(),
      ],
    );
    return Math.min(Infinity, ...times.filter((ms) => ms > nowMs));
  }

  /** Marks a microbatch as completed. */
  complete(microbatch: Microbatch): void {
    this.#open = this.#open.filter((open) => !isOf(open, microbatch));
  }

  /**
   * Opens a microbatch to `wanted` more authors, other than those in `told`; with `seed`, only to drawn ones
   * (`draw`).
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

  /** Whether a draw is due for any microbatch. */
  anyDrawDue(nowMs: number): boolean {
    return this.#open.some((open) => isDrawDue(open, nowMs));
  }

  isDrawDue(microbatch: Microbatch, nowMs: number): boolean {
    const open = this.#find(microbatch);
    return open !== undefined && isDrawDue(open, nowMs);
  }

  /** Draws an author for the microbatch among `there`, as `SecondDraw.draw`. */
  draw(
    microbatch: Microbatch,
    there: readonly Present[],
    nowMs: number,
    pace: Pace,
  ): string | undefined {
    const open = this.#find(microbatch);
    return open?.draw?.draw(open.wanted, there, nowMs, pace);
  }

  /** Whether an author was drawn for the microbatch. */
  isDrawn(microbatch: Microbatch, author: string): boolean {
    return this.#find(microbatch)?.draw?.isDrawn(author) ?? false;
  }

  /** Open microbatches with at least one result. */
  told(): Microbatch[] {
    return this.#open
      .filter(({ told }) => told.size > 0)
      .map(({ microbatch }) => microbatch);
  }

  /** Whether an author had a lease of the microbatch and was silent until it was due. */
  isSilent(microbatch: Microbatch, author: string): boolean {
    return this.#find(microbatch)?.silent.has(author) ?? false;
  }

  /** How long a trainer has held its lease of a microbatch; undefined if it has none. */
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

  /** Ends the leases whose deadline has passed; returns their holders. */
  lapse(nowMs: number): Holder[] {
    return this.#end(({ lease }) => lease.deadlineMs <= nowMs);
  }

  /** Counts as silent who is due. Returns whether anybody was not before. */
  fallSilent(nowMs: number): boolean {
    let isNews = false;
    for (const { due, silent } of this.#open) {
      for (const [author, dueMs] of due) {
        if (dueMs > nowMs || silent.has(author)) continue;
        silent.add(author);
        isNews = true;
      }
    }
    return isNews;
  }

  /** Releases the leases of all of an author's trainers. */
  releaseAuthor(author: string): void {
    for (const { draw } of this.#open) draw?.over(author);
    this.#end(({ holder }) => holder.author === author);
  }

  /** Releases the leases of earlier boots of the trainer. */
  releaseOtherBoots({ trainer, bootId }: Boot): void {
    this.#end(
      ({ holder }) => holder.trainer === trainer && holder.bootId !== bootId,
    );
  }

  /** Releases the trainer's leases. Returns whether it held any. */
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

  /** The trainer's leases, at most two, the one ahead last. */
  #heldBy(holder: Boot): Held[] {
    return this.#all()
      .filter((held) => isSame(held.holder, holder))
      .sort((a, b) => Number(a.isAhead) - Number(b.isAhead));
  }

  #begun(): Held[] {
    return this.#all().filter(({ isAhead }) => !isAhead);
  }

  /** Adds a holder to a microbatch, not begun yet. */
  #give(
    { microbatch, held, due }: Open,
    holder: Holder,
    nowMs: number,
    deadlineMs: number,
  ): Held {
    if (!due.has(holder.author)) due.set(holder.author, deadlineMs);
    const lease = { ...microbatch, step: this.step, deadlineMs };
    const given = {
      lease,
      holder,
      startMs: nowMs,
      sinceMs: nowMs,
      isAhead: true,
    };
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
    due: new Map(),
    silent: new Set(),
    since: new Map(),
  };
}

/** Whether an author may compute the microbatch. */
function isFor({ told, draw }: Open, author: string): boolean {
  return !told.has(author) && (draw?.isDrawn(author) ?? true);
}

function isDrawDue({ draw, wanted }: Open, nowMs: number): boolean {
  return draw !== null && draw.isDue(wanted, nowMs);
}

/** Whether an author that may compute a microbatch was drawn for it and holds no lease of it. */
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
