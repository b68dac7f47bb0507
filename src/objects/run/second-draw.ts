/**
 * Whom the run asks for the words after the first of a microbatch that more than one shall tell of. Of those who lie together
 * one tells first, and the others would ask first: so they are drawn, by a seed that only the run's secret gives, once the
 * first has told.
 */
import type { LeaseKind } from "../../api/lease.ts";
import { mix } from "../../kernels/noise.ts";
import type { Pace } from "./pace.ts";
import type { TrainerRecord } from "./trainer-store.ts";

/** A trainer that is there. */
export type Present = Pick<TrainerRecord, "name" | "author">;

export class SecondDraw {
  readonly #kind: LeaseKind;
  readonly #seed: number;
  readonly #drawn = new Set<string>();
  /** Those who were drawn and have not told, with the names of their trainers, and until when nobody is drawn beside each. */
  readonly #awaited = new Map<string, { names: string[]; untilMs: number }>();

  /** `seed` from 0 to 1. */
  constructor(kind: LeaseKind, seed: number) {
    this.#kind = kind;
    this.#seed = Math.floor(seed * 2 ** 32);
  }

  isDrawn(author: string): boolean {
    return this.#drawn.has(author);
  }

  /** Whether fewer than the `wanted` are waited for. */
  isDue(wanted: number, nowMs: number): boolean {
    return this.lateMs().filter((ms) => ms > nowMs).length < wanted;
  }

  /** When each of those who are waited for is late. */
  lateMs(): number[] {
    return Array.from(this.#awaited.values(), ({ untilMs }) => untilMs);
  }

  /** An author has told, or tells no more. */
  over(author: string): void {
    this.#awaited.delete(author);
  }

  /**
   * Unless the `wanted` are waited for, draw one of the authors of whom something is expected, or else of all `there`. Who has
   * not told after what two microbatches may take it, since it may have been at another, is given up. Who is drawn before
   * whom is the seed's: who comes, goes or is put out changes nothing about the others. Returns who was drawn.
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
