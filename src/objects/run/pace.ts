/**
 * How long microbatches take. A trainer's recent times tell when it may be expected to finish. The median over
 * trainers tells how long a lease lasts; the typical time, a median over authors, limits how long anybody is waited
 * for. So one slow trainer extends neither for the others, and an author's many trainers count as one.
 */
import type { LeaseKind } from "../../api/lease.ts";

/** Lease time before anything was measured. */
const FIRST_MS = 60_000;
const MIN_MS = 5_000;
const MAX_MS = 10 * 60_000;
/** A lease lasts this multiple of the median over trainers. */
const LEASE_FACTOR = 4;
/** A trainer that takes this multiple of its usual time is given up. */
const PATIENCE = 2;
/** A trainer's usual time counts as at most this multiple of the typical time. */
const MOST_USUAL = 2;
/** Weight of the latest measurement in the usual time; one hiccup is soon forgotten. */
const FRESH = 0.3;

/** A trainer's usual time in ms by kind, as far as measured. */
export type Usual = Partial<Record<LeaseKind, number>>;

/** The usual time, updated with a measurement. */
export function measured(usual: Usual, kind: LeaseKind, tookMs: number): Usual {
  const before = usual[kind] ?? tookMs;
  return { ...usual, [kind]: before + FRESH * (tookMs - before) };
}

type Known = { author: string; usual: Usual };

export class Pace {
  readonly #usualOf: (trainer: string) => Usual | undefined;
  readonly #all: () => Iterable<Known>;
  /** Trainers that were waited for in vain, and have completed nothing since. */
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

  /** A trainer's usual time, or the typical one if nothing was measured. */
  expectedMs(trainer: string, kind: LeaseKind): number | undefined {
    return own(this.#usualOf(trainer) ?? {}, kind) ?? this.#typicalMs(kind);
  }

  /**
   * When a trainer that began at `startMs` is expected to finish: after its usual time; once that is over, at any
   * moment (`nowMs`); after twice that, or if nothing was measured, never (Infinity).
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

  /** Gives up a trainer that is no longer expected to finish. */
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

  /** Whether a trainer has completed something and is not given up. */
  isExpected(trainer: string, kind: LeaseKind): boolean {
    if (this.#givenUp.has(trainer)) return false;
    return own(this.#usualOf(trainer) ?? {}, kind) !== undefined;
  }

  /** How long to wait for a trainer, measured or not, that may have to finish another microbatch first. */
  twoMs(trainer: string, kind: LeaseKind): number {
    const typical = this.#typicalMs(kind);
    if (typical === undefined) return this.leaseMs(kind);
    const usual = this.expectedMs(trainer, kind)!;
    return 2 * PATIENCE * Math.min(usual, MOST_USUAL * typical);
  }

  /** A trainer has completed something, or is forgotten: it is not given up any more. */
  expectAgain(trainer: string): void {
    this.#givenUp.delete(trainer);
  }

  #believedMs(trainer: string, kind: LeaseKind): number | undefined {
    if (this.#givenUp.has(trainer)) return undefined;
    const usual = own(this.#usualOf(trainer) ?? {}, kind);
    // Checked first, since the typical time looks at all trainers, and of a crowd nothing is measured.
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

/** The time for this kind, or else for the other: both have microbatches of one size. */
function own(usual: Usual, kind: LeaseKind): number | undefined {
  return usual[kind] ?? usual.train ?? usual.eval;
}
