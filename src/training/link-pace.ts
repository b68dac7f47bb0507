/**
 * Whether the link to the shards is so slow that differences of parameters are worth the work of making and taking them,
 * some 15 ns a parameter each. It decides how bytes travel, never what they are.
 */

/** What came for a frame: so many bytes, and how long after the answer began the last of them did. */
export type Travelled = { bytes: number; ms: number };

/** For one that another has pulled. */
export const NOTHING_TRAVELLED: Travelled = { bytes: 0, ms: 0 };

/** Above 10 MB/s a whole frame is there as soon. */
const SLOW_BYTES_PER_MS = 10_000;
/** Fewer come with the answer's beginning, and tell nothing. */
const TELLING_BYTES = 128 * 1024;
/** After so many that told nothing, whole frames are to tell again. */
const MOST_UNTOLD = 16;

export class LinkPace {
  isSlow = false;
  #untold = 0;

  /**
   * What came side by side, whole frames or differences. A machine that had no time to read makes any link seem slow for
   * once, so each is judged anew.
   */
  measured(all: readonly Travelled[]): void {
    const bytes = all.reduce((sum, each) => sum + each.bytes, 0);
    if (bytes < TELLING_BYTES) {
      if (++this.#untold === MOST_UNTOLD) this.#judge(false);
      return;
    }
    const ms = Math.max(...all.map((each) => each.ms));
    this.#judge(bytes < SLOW_BYTES_PER_MS * ms);
  }

  #judge(isSlow: boolean): void {
    this.isSlow = isSlow;
    this.#untold = 0;
  }
}
