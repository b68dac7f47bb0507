/**
 * Whether the link to the shards is so slow that differences of parameters are worth the work of making and taking them,
 * some 15 ns a parameter each. It decides how bytes travel, never what they are.
 */

/** Above 10 MB/s a whole frame is there as soon. */
const SLOW_BYTES_PER_MS = 10_000;

export class LinkPace {
  isSlow = false;

  /** Whole frames of so many bytes took so long. */
  measured(bytes: number, ms: number): void {
    this.isSlow = bytes < SLOW_BYTES_PER_MS * ms;
  }
}
