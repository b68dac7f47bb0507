/**
 * How long microbatches take. From what each trainer needed lately follows when it may be expected to
 * finish, and from what is typical among them how long a lease lasts: one slow trainer stretches neither
 * for the others, nor does one author what others wait, however many trainers it has.
 */
import type { LeaseKind } from "../../api/lease.ts";

/** Before anything is measured. */
const FIRST_MS = 60_000;
const MIN_MS = 5_000;
const MAX_MS = 10 * 60_000;
/** A lease lasts so many times what is typical. */
const LEASE_FACTOR = 4;
/** Whoever takes so many times what it usually takes is not expected any more. */
const PATIENCE = 2;
/** And no more is believed of anybody than so many times what is typical. */
const MOST_USUAL = 2;
/** Weight of the latest in what is usual: one hiccup is soon forgotten. */
const FRESH = 0.3;

/** What a trainer usually takes, in ms, as far as it was seen. */
export type Usual = Partial<Record<LeaseKind, number>>;

/** What is usual once it took `tookMs`. */
export function measured(usual: Usual, kind: LeaseKind, tookMs: number): Usual {
  const before = usual[kind] ?? tookMs;
  return { ...usual, [kind]: before + FRESH * (tookMs - before) };
}

type Known = { author: string; usual: Usual };

export class Pace {
  readonly #usualOf: (trainer: string) => Usual | undefined;
  readonly #all: () => Iterable<Known>;
  /** Those who kept others waiting in vain, and have completed nothing since. */
  readonly #givenUp = new Set<string>();

  constructor(
    usualOf: (trainer: string) => Usual | undefined,
    all: () => Iterable<Known>,
  ) {
    this.#usualOf = usualOf;
    this.#all = all;
  }

  /** How long a lease lasts: many slow trainers may share a token, and what they hold keeps nobody waiting. */
  leaseMs(kind: LeaseKind): number {
    const typical = lowerMedian(timesOf([...this.#all()], kind));
    if (typical === undefined) return FIRST_MS;
    return Math.min(MAX_MS, Math.max(MIN_MS, LEASE_FACTOR * typical));
  }

  /** What a trainer may be expected to take; what is typical for one of whom nothing is known. */
  expectedMs(trainer: string, kind: LeaseKind): number | undefined {
    return own(this.#usualOf(trainer) ?? {}, kind) ?? this.#typicalMs(kind);
  }

  /**
   * When one that began at `startMs` may be expected to have finished: after what it usually takes; at any
   * moment, once that is over; and not any more, Infinity, after twice that, or if nothing is known of it.
   */
  finishMs(
    trainer: string,
    kind: LeaseKind,
    startMs: number,
    nowMs: number,
  ): number {
    const usual = this.#believedMs(trainer, kind);
    if (usual === undefined) return Infinity;
    if (nowMs >= startMs + PATIENCE * usual) return Infinity;
    return Math.max(nowMs, startMs + usual);
  }

  /** When `finishMs` becomes Infinity. */
  patienceEndMs(trainer: string, kind: LeaseKind, startMs: number): number {
    const usual = this.#believedMs(trainer, kind);
    return usual === undefined ? -Infinity : startMs + PATIENCE * usual;
  }

  /** Nobody waits again for one that is not expected any more. */
  giveUpLate(
    trainer: string,
    kind: LeaseKind,
    startMs: number,
    nowMs: number,
  ): void {
    const endMs = this.patienceEndMs(trainer, kind, startMs);
    if (Number.isFinite(endMs) && endMs <= nowMs) this.giveUp(trainer);
  }

  giveUp(trainer: string): void {
    this.#givenUp.add(trainer);
  }

  /** Whether it has completed something, and is not given up. */
  isExpected(trainer: string, kind: LeaseKind): boolean {
    if (this.#givenUp.has(trainer)) return false;
    return own(this.#usualOf(trainer) ?? {}, kind) !== undefined;
  }

  /** How long a trainer, of whom nothing need be known, is waited for that has another microbatch to end first. */
  twoMs(trainer: string, kind: LeaseKind): number {
    const typical = this.#typicalMs(kind);
    if (typical === undefined) return this.leaseMs(kind);
    const usual = this.expectedMs(trainer, kind)!;
    return 2 * PATIENCE * Math.min(usual, MOST_USUAL * typical);
  }

  /** Until it has completed something, or is forgotten. */
  expectAgain(trainer: string): void {
    this.#givenUp.delete(trainer);
  }

  #believedMs(trainer: string, kind: LeaseKind): number | undefined {
    if (this.#givenUp.has(trainer)) return undefined;
    const usual = own(this.#usualOf(trainer) ?? {}, kind);
    // First: what is typical takes a look at all of them, and of a crowd nothing is known.
    if (usual === undefined) return undefined;
    const typical = this.#typicalMs(kind);
    if (typical === undefined) return undefined;
    return Math.min(usual, MOST_USUAL * typical);
  }

  /** The lower median over authors, each of which counts once: as the lower median of its trainers. */
  #typicalMs(kind: LeaseKind): number | undefined {
    const byAuthor = Map.groupBy(this.#all(), ({ author }) => author);
    const medians = Array.from(byAuthor.values(), (trainers) =>
      lowerMedian(timesOf(trainers, kind)),
    );
    return lowerMedian(medians.filter((ms) => ms !== undefined));
  }
}

function timesOf(trainers: readonly Known[], kind: LeaseKind): number[] {
  return trainers
    .map(({ usual }) => own(usual, kind))
    .filter((ms) => ms !== undefined);
}

function lowerMedian(times: readonly number[]): number | undefined {
  return times.toSorted((a, b) => a - b)[Math.floor((times.length - 1) / 2)];
}

/** Of this kind, or else of the other: of one size they are. */
function own(usual: Usual, kind: LeaseKind): number | undefined {
  return usual[kind] ?? usual.train ?? usual.eval;
}
