/**
 * Measures where a trainer's time goes. On a deployed edge, clocks only advance when a request is made, so a hosted
 * trainer's computing time counts as the phase that follows it.
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

  /** Adds the time since the last call to `phase`, by default of the current microbatch. */
  lap(phase: Phase, phases = this.#phases): void {
    const nowMs = performance.now();
    phases[`${phase}Ms`] += nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
  }

  pulled(bytes: number): void {
    this.#phases.pulledBytes += bytes;
  }

  /** The times of the current microbatch; starts the next. */
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
