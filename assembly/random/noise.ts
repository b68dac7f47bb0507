/**
 * The keyed counter hash: every random bit of the project is `noise(key0, key1, counter)`.
 *
 *   x = counter ^ key0;  x ^= x >> 16;  x *= 0x7feb352d;  x ^= x >> 15;  x += key1;
 *   x ^= x >> 16;  x *= 0x846ca68b;  x ^= x >> 16
 *
 * Two multiplies (the lowbias32 constants), with the second half of the key added between them, so
 * that two keys whose counters overlap still give unrelated bits. There is no state: the same key
 * and counter give the same bits on every machine, in any order. docs/randomness.md lists the keys.
 */
// @ts-ignore: decorator
@inline
export function noise(key0: u32, key1: u32, counter: u32): u32 {
  let x = counter ^ key0;
  x ^= x >> 16;
  x *= 0x7feb352d;
  x ^= x >> 15;
  x += key1;
  x ^= x >> 16;
  x *= 0x846ca68b;
  return x ^ (x >> 16);
}

/**
 * The multipliers in memory: V8 rebuilds a v128 constant at each use, from immediates, and a load is
 * cheaper.
 */
// @ts-ignore: decorator
@inline const MULTIPLIERS: usize = memory.data<u32>([
  0x7feb352d, 0x7feb352d, 0x7feb352d, 0x7feb352d, 0x846ca68b, 0x846ca68b, 0x846ca68b, 0x846ca68b,
], 16);

/** Four counters at once, in u32 lanes; the same bits as `noise`. Keys are splat. */
// @ts-ignore: decorator
@inline
export function noise4(key0: v128, key1: v128, counters: v128): v128 {
  return mixed(key1, keyed(key0, counters));
}

/**
 * The part of the hash before its first multiplication: counters that differ only in their low 16 bits differ in the
 * same bits here.
 */
// @ts-ignore: decorator
@inline
export function keyed(key0: v128, counters: v128): v128 {
  const x = v128.xor(counters, key0);
  return v128.xor(x, i32x4.shr_u(x, 16));
}

/** The rest of the hash. */
// @ts-ignore: decorator
@inline
export function mixed(key1: v128, x: v128): v128 {
  x = i32x4.mul(x, v128.load(MULTIPLIERS));
  x = v128.xor(x, i32x4.shr_u(x, 15));
  x = i32x4.add(x, key1);
  x = v128.xor(x, i32x4.shr_u(x, 16));
  x = i32x4.mul(x, v128.load(MULTIPLIERS, 16));
  return v128.xor(x, i32x4.shr_u(x, 16));
}

/** `length` hashes of the counters `first`, `first` + 1, … to u32 `out`. For tests and small draws. */
export function fillNoise(out: usize, length: i32, key0: u32, key1: u32, first: u32): void {
  for (let i = 0; i < length; i++) {
    store<u32>(out + (<usize>i << 2), noise(key0, key1, first + <u32>i));
  }
}
