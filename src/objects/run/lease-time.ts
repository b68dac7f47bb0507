/** How long a lease lasts: several times what microbatches of its kind took lately. */
import type { LeaseKind } from "../../api/types.ts";

const FIRST_MS = 60_000;
const MIN_MS = 5_000;
const MAX_MS = 10 * 60_000;
const FACTOR = 4;
/** The slowest one seen fades, so that one hiccup does not count for ever. */
const FADE = 0.95;

export class LeaseTime {
  readonly #slowestMs = new Map<LeaseKind, number>();

  measured(kind: LeaseKind, tookMs: number): void {
    const slowest = (this.#slowestMs.get(kind) ?? 0) * FADE;
    this.#slowestMs.set(kind, Math.max(slowest, tookMs));
  }

  durationMs(kind: LeaseKind): number {
    const slowest = this.#slowestMs.get(kind);
    if (slowest === undefined) return FIRST_MS;
    return Math.min(MAX_MS, Math.max(MIN_MS, FACTOR * slowest));
  }
}
