/**
 * Where a trainer's time goes, phase by phase. On a deployed edge a clock stands still while code computes, until the
 * next request goes out: what a hosted trainer computes counts there as the phase that follows.
 */
import type { Phases } from "../api/lease.ts";

type Phase = "lease" | "pull" | "compute" | "push";

const NOTHING: Phases = {
  leaseMs: 0,
  pullMs: 0,
  computeMs: 0,
  pushMs: 0,
  pulledBytes: 0,
  pushedBytes: 0,
};

export class PhaseClock {
  #sinceMs = performance.now();
  #phases = { ...NOTHING };

  /** What has passed since the last call was this phase: of the present microbatch, or of that whose `phases` were taken. */
  lap(phase: Phase, phases = this.#phases): void {
    const nowMs = performance.now();
    phases[`${phase}Ms`] += nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
  }

  pulled(bytes: number): void {
    this.#phases.pulledBytes += bytes;
  }

  /** What one microbatch took so far; the next begins. */
  take(): Phases {
    const phases = this.#phases;
    this.#phases = { ...NOTHING };
    return phases;
  }
}

export function sumOfPhases(all: readonly Phases[]): Phases {
  const sum = { ...NOTHING };
  for (const phases of all)
    for (const key of Object.keys(NOTHING) as (keyof Phases)[])
      sum[key] += phases[key];
  return sum;
}
