/**
 * The leases of one step, in memory: all of its microbatches, training and evaluation, that nobody
 * has completed. Losing this loses nothing: a lease given twice is computed twice, to the same bytes. That
 * is also why nobody waits for one that is slow or gone: whoever may be expected to finish first computes
 * what another holds.
 */
import type { Lease, LeaseKind, LeaseRequest } from "../../api/types.ts";
import type { Pace } from "./pace.ts";

export type Microbatch = { kind: LeaseKind; index: number };
export type Holder = Pick<LeaseRequest, "trainer" | "bootId">;

type Held = { lease: Lease; holder: Holder; startMs: number };

/** In the order in which they are given, with who computes them. */
type Open = { microbatch: Microbatch; held: Held[] };

export class StepLeases {
  readonly step: number;
  #open: Open[];

  constructor(step: number, open: readonly Microbatch[]) {
    this.step = step;
    this.#open = open.map((microbatch) => ({ microbatch, held: [] }));
  }

  /** Whether every microbatch is completed. */
  get isDone(): boolean {
    return this.#open.length === 0;
  }

  /**
   * A lease, or null when there is nothing to give. A trainer has one at a time: asking again, after
   * an answer was lost, gives it the same.
   */
  take(holder: Holder, nowMs: number, pace: Pace): Lease | null {
    const own = this.#heldBy(holder);
    if (own) return own.lease;
    const open =
      this.#open.find(({ held }) => held.length === 0) ??
      this.#open
        .filter(({ microbatch: { kind }, held }) => {
          const doneMs = nowMs + (pace.expectedMs(holder.trainer, kind) ?? 0);
          return held.every(
            ({ holder: { trainer }, startMs }) =>
              pace.finishMs(trainer, kind, startMs, nowMs) > doneMs,
          );
        })
        .sort((a, b) => a.held.length - b.held.length)[0];
    if (!open) return null;
    const { kind, index } = open.microbatch;
    const lease: Lease = {
      kind,
      index,
      step: this.step,
      deadlineMs: nowMs + pace.leaseMs(kind),
    };
    open.held.push({ lease, holder, startMs: nowMs });
    return lease;
  }

  /** When `take` may have something for one that got nothing at `nowMs`, if nobody completes; Infinity for never. */
  nextMs(nowMs: number, pace: Pace): number {
    const times = this.#open.flatMap(({ microbatch: { kind }, held }) => [
      // It is given once nobody who has it is expected any more.
      ...held
        .map(({ holder, startMs }) =>
          pace.patienceEndMs(holder.trainer, kind, startMs),
        )
        .sort((a, b) => b - a)
        .slice(0, 1),
      ...held.map(({ lease }) => lease.deadlineMs),
    ]);
    return Math.min(Infinity, ...times.filter((ms) => ms > nowMs));
  }

  /** It is completed, by whomever. */
  complete({ kind, index }: Microbatch): void {
    this.#open = this.#open.filter(
      ({ microbatch }) =>
        microbatch.kind !== kind || microbatch.index !== index,
    );
  }

  /** How long a trainer has had its lease of a microbatch; undefined when it has none. */
  tookMs(
    { kind, index }: Microbatch,
    by: Holder,
    nowMs: number,
  ): number | undefined {
    const own = this.#heldBy(by);
    const isOfIt = own?.lease.kind === kind && own.lease.index === index;
    return isOfIt ? nowMs - own.startMs : undefined;
  }

  /** Ends the leases whose deadline has come; returns who had them. */
  lapse(nowMs: number): Holder[] {
    return this.#end(({ lease }) => lease.deadlineMs <= nowMs);
  }

  /** What an earlier boot of the trainer holds is open again. */
  releaseOtherBoots({ trainer, bootId }: Holder): void {
    this.#end(
      ({ holder }) => holder.trainer === trainer && holder.bootId !== bootId,
    );
  }

  /** What the trainer holds is open again. Returns whether it held something. */
  release(holder: Holder): boolean {
    return this.#end((held) => isSame(held.holder, holder)).length > 0;
  }

  isHolding(trainer: string, nowMs: number): boolean {
    return this.#all().some(
      ({ holder, lease }) =>
        holder.trainer === trainer && lease.deadlineMs > nowMs,
    );
  }

  #heldBy(holder: Holder): Held | undefined {
    return this.#all().find((held) => isSame(held.holder, holder));
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

function isSame(a: Holder, b: Holder): boolean {
  return a.trainer === b.trainer && a.bootId === b.bootId;
}
