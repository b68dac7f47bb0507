/**
 * Decides whether the link to the shards is slow enough for parameter differences to pay off (encoding and decoding
 * take some 15 ns per parameter). Affects only how bytes travel, never their values.
 */

/**
 * What was received for a frame: the number of bytes, and the time from the beginning of the response to its last
 * byte.
 */
export type Travelled = { bytes: number; ms: number };

/** For a frame that another trainer of this process pulled. */
export const NOTHING_TRAVELLED: Travelled = { bytes: 0, ms: 0 };

/** Above 10 MB/s a whole frame arrives as soon as a difference would. */
const SLOW_BYTES_PER_MS = 10_000;
/** Fewer bytes arrive together with the beginning of the response, so their time says nothing. */
const TELLING_BYTES = 128 * 1024;
/** After so many measurements that were too small, whole frames are pulled again to measure. */
const MOST_UNTOLD = 16;

export class LinkPace {
  isSlow = false;
  #untold = 0;

  /**
   * Judges the link by frames or differences received concurrently. Each measurement is judged by itself: a busy
   * machine makes any link look slow once.
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
