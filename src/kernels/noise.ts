/**
 * Noise keys: all randomness is a pure function of (seed, purpose, coordinates), and of a counter
 * inside the kernel. docs/randomness.md states the bit recipe; neither changes, since files and
 * training runs would no longer reproduce.
 */

/** Domains. A purpose fixes which coordinates follow it, so no two draws share a key by accident. */
export const PURPOSE = {
  /** Initial parameters: tensor index. */
  initialParameters: 1,
  /** Where a training sequence starts: step, microbatch. */
  tokens: 2,
  /** Sign vector of one GEMM's RHT: step, layer, linear, gemm, microbatch + 1 (0: shared by all). */
  gemmSigns: 3,
  /** SR of one GEMM operand: step, layer, linear, gemm, operand, microbatch + 1 (0: shared). */
  gemmRounding: 4,
  /** Sign vector of the gradient on the wire: step, microbatch. */
  wireSigns: 5,
  /** SR of the gradient on the wire: step, microbatch. */
  wireRounding: 6,
  /** Sign vector of a quantized file: none. */
  fileSigns: 7,
  /** SR of a quantized file: a tensor's position among the file's names in sorted order. */
  fileRounding: 8,
  /** Sampled text: position. */
  sampling: 9,
  /** Factors of the gradient on the wire: step, microbatch. */
  wireFactors: 10,
} as const;

export type Purpose = (typeof PURPOSE)[keyof typeof PURPOSE];

/** The two words that `assembly/random/noise.ts` mixes with a counter. */
export type NoiseKey = readonly [key0: number, key1: number];

/**
 * The key of one use. `seed` is a whole number from 0 to 2^53 − 1; each coordinate fits 32 bits.
 *
 *   (a, b) = (0x243f6a88, 0x85a308d3);  for each word w of [seed low, seed high, purpose, …]:
 *   a = mix(a ^ w);  b = mix(b + w + 0x9e3779b9 ^ a)        with the murmur3 finalizer as mix
 */
export function noiseKey(
  seed: number,
  purpose: Purpose,
  ...coordinates: number[]
): NoiseKey {
  let key0 = 0x243f6a88;
  let key1 = 0x85a308d3;
  const words = [
    seed >>> 0,
    Math.floor(seed / 2 ** 32),
    purpose,
    ...coordinates,
  ];
  for (const word of words) {
    key0 = mix(key0 ^ word);
    key1 = mix((key1 + word + 0x9e3779b9) ^ key0);
  }
  return [key0, key1];
}

/** The finalizer of MurmurHash3 (Appleby, public domain): every input bit reaches every output bit. */
export function mix(word: number): number {
  let x = word >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
