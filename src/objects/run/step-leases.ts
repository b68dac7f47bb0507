/**
 * The leases of one step, in memory: all of its microbatches, training and evaluation, that nobody
 * has completed. Losing this loses nothing: a lease given twice is computed twice, to the same bytes.
 */
import type { Lease, LeaseKind, LeaseRequest } from "../../api/types.ts";

export type Microbatch = { kind: LeaseKind; index: number };
export type Holder = Pick<LeaseRequest, "trainer" | "bootId">;

type Held = { lease: Lease; holder: Holder; startMs: number };

export class StepLeases {
  readonly step: number;
  /** Neither completed nor leased, in the order in which they are given. */
  readonly #open: Microbatch[];
  readonly #held = new Map<string, Held>();

  constructor(step: number, open: Microbatch[]) {
    this.step = step;
    this.#open = open;
  }

  /** Whether every microbatch is completed. */
  get isDone(): boolean {
    return this.#open.length === 0 && this.#held.size === 0;
  }

  /** When the first lease ends; Infinity without one. */
  get firstDeadlineMs(): number {
    return Math.min(
      ...Array.from(this.#held.values(), ({ lease }) => lease.deadlineMs),
      Infinity,
    );
  }

  /**
   * A lease, or null when there is nothing to give. A trainer has one at a time: asking again, after
   * an answer was lost, gives it the same.
   */
  take(
    holder: Holder,
    nowMs: number,
    durationMs: (kind: LeaseKind) => number,
  ): Lease | null {
    this.#reopen((held) => held.lease.deadlineMs <= nowMs);
    const own = [...this.#held.values()].find((held) =>
      isSame(held.holder, holder),
    );
    if (own) return own.lease;
    const microbatch = this.#open.shift();
    if (!microbatch) return null;
    const lease: Lease = {
      ...microbatch,
      step: this.step,
      deadlineMs: nowMs + durationMs(microbatch.kind),
    };
    this.#held.set(keyOf(microbatch), { lease, holder, startMs: nowMs });
    return lease;
  }

  /** It is completed, by whomever. Returns the time since its lease began, if it was leased. */
  complete(microbatch: Microbatch, nowMs: number): number | undefined {
    const key = keyOf(microbatch);
    const held = this.#held.get(key);
    this.#held.delete(key);
    const index = this.#open.findIndex((open) => keyOf(open) === key);
    if (index >= 0) this.#open.splice(index, 1);
    return held && nowMs - held.startMs;
  }

  /** What an earlier boot of the trainer holds is open again. */
  releaseOtherBoots({ trainer, bootId }: Holder): void {
    this.#reopen(
      ({ holder }) => holder.trainer === trainer && holder.bootId !== bootId,
    );
  }

  isHolding(trainer: string, nowMs: number): boolean {
    return [...this.#held.values()].some(
      ({ holder, lease }) =>
        holder.trainer === trainer && lease.deadlineMs > nowMs,
    );
  }

  #reopen(isLost: (held: Held) => boolean): void {
    for (const [key, held] of this.#held) {
      if (!isLost(held)) continue;
      this.#held.delete(key);
      this.#open.unshift({ kind: held.lease.kind, index: held.lease.index });
    }
  }
}

function keyOf({ kind, index }: Microbatch): string {
  return `${kind}/${index}`;
}

function isSame(a: Holder, b: Holder): boolean {
  return a.trainer === b.trainer && a.bootId === b.bootId;
}
