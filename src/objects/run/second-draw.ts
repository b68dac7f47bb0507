/**
 * Draws the authors that the run asks for further results of a microbatch, after the first. If whoever asks first
 * were chosen, accomplices could confirm each other's lies; so authors are drawn with a seed that only the run's
 * secret gives, and only once the first result is in.
 */
import type { LeaseKind } from "../../api/lease.ts";
import { mix } from "../../kernels/noise.ts";
import type { Pace } from "./pace.ts";
import type { TrainerRecord } from "./trainer-store.ts";

/** A present trainer. */
export type Present = Pick<TrainerRecord, "name" | "author">;

export class SecondDraw {
  readonly #kind: LeaseKind;
  readonly #seed: number;
  readonly #drawn = new Set<string>();
  /** Drawn authors without a result yet: their trainers' names, and until when nobody is drawn in their place. */
  readonly #awaited = new Map<string, { names: string[]; untilMs: number }>();

  /** `seed` is in [0, 1). */
  constructor(kind: LeaseKind, seed: number) {
    this.#kind = kind;
    this.#seed = Math.floor(seed * 2 ** 32);
  }

  isDrawn(author: string): boolean {
    return this.#drawn.has(author);
  }

  /** Whether fewer than `wanted` drawn authors are still in time. */
  isDue(wanted: number, nowMs: number): boolean {
    return this.lateMs().filter((ms) => ms > nowMs).length < wanted;
  }

  /** The time at which each awaited author becomes late. */
  lateMs(): number[] {
    return Array.from(this.#awaited.values(), ({ untilMs }) => untilMs);
  }

  /** An author has reported a result, or is excluded. */
  over(author: string): void {
    this.#awaited.delete(author);
  }

  /**
   * If fewer than `wanted` authors are awaited in time, draws one: among the authors that have completed something
   * and are not given up, otherwise among all `there`. Authors that are late are given up; they had the time of two
   * microbatches, since they may have been computing another. The seed fixes the order of authors, so those that
   * join, leave or are excluded do not change the order of the rest. Returns the drawn author.
   */
  draw(
    wanted: number,
    there: readonly Present[],
    nowMs: number,
    pace: Pace,
  ): string | undefined {
    if (!this.isDue(wanted, nowMs)) return undefined;
    for (const [author, { names, untilMs }] of this.#awaited) {
      if (untilMs > nowMs) continue;
      for (const name of names) pace.giveUp(name);
      this.#awaited.delete(author);
    }
    const others = there.filter(({ author }) => !this.#drawn.has(author));
    const expected = others.filter(({ name }) =>
      pace.isExpected(name, this.#kind),
    );
    const pool = expected.length > 0 ? expected : others;
    const ranks = pool.map(({ author }) => rankOf(this.#seed, author));
    const author = pool[ranks.indexOf(Math.min(...ranks))]?.author;
    if (author === undefined) return undefined;
    const names = pool
      .filter((each) => each.author === author)
      .map(({ name }) => name);
    const waits = names.map((name) => pace.twoMs(name, this.#kind));
    this.#drawn.add(author);
    this.#awaited.set(author, { names, untilMs: nowMs + Math.max(...waits) });
    return author;
  }
}

function rankOf(seed: number, author: string): number {
  let rank = seed;
  for (let i = 0; i < author.length; i++)
    rank = mix(rank ^ author.charCodeAt(i));
  return rank;
}
