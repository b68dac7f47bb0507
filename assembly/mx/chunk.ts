import { noise4 } from "../random/noise";

/**
 * Values are read twice, for their scales and to be rounded: this many bytes at a time, which stay in the first-level
 * cache. All scales of a chunk are computed first, and all its noise, so that no block waits for its own.
 */
// @ts-ignore: decorator
@inline export const CHUNK_BYTES: usize = 2048;
/** Noise of one chunk: u32 [CHUNK_BYTES / 8], one for each pair of elements. */
// @ts-ignore: decorator
@inline export const NOISE: usize = memory.data(<i32>(CHUNK_BYTES >> 1), 16);
/** Step of the pair counters: four. */
// @ts-ignore: decorator
@inline const FOUR: usize = memory.data<u32>([4, 4, 4, 4], 16);

/**
 * Writes the noise for `bytes` of f32 to NOISE, from the counters `pairs` on; returns the counters that follow. Keys
 * are splat.
 */
// @ts-ignore: decorator
@inline
export function drawChunkNoise(keys0: v128, keys1: v128, pairs: v128, bytes: usize): v128 {
  for (let noise = NOISE, end = NOISE + (bytes >> 1); noise < end; noise += 16) {
    v128.store(noise, noise4(keys0, keys1, pairs));
    pairs = i32x4.add(pairs, v128.load(FOUR));
  }
  return pairs;
}
