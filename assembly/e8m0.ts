import { BLOCK_SIZE, E2M1_EMAX, E8M0_NAN } from "./constants";

/** X = 2^(floor(log2 amax) − 2), the rule of OCP MX v1.0 §6.3: what exceeds 6·X clips. */
// @ts-ignore: decorator
@inline export const SCALE_FLOOR: i32 = 0;
/** X = 2^ceil(log2(amax / 6)): the smallest power of two for which nothing clips. */
// @ts-ignore: decorator
@inline export const SCALE_RCEIL: i32 = 1;
/** X = 2^(ceil(log2 amax) − 2). */
// @ts-ignore: decorator
@inline export const SCALE_CEIL: i32 = 2;
/** X = 2^(floor(log2 r) − 2), r = amax rounded to one mantissa bit, halves up: 1.75 · 2^e becomes 2^(e + 1). */
// @ts-ignore: decorator
@inline export const SCALE_EVEN: i32 = 3;

/** The largest mantissa of amax with which a rule takes 2^(floor(log2 amax) − 2); above it, twice that. */
// @ts-ignore: decorator
@inline
export function keptMantissa(rule: i32): i32 {
  if (rule == SCALE_RCEIL) return 0x400000; // 1.5
  if (rule == SCALE_CEIL) return 0;
  if (rule == SCALE_EVEN) return 0x5fffff; // below 1.75
  return 0x7fffff;
}

// @ts-ignore: decorator
@inline const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);

/**
 * E8M0 byte of one block of 32 f32.
 *
 * Exponent bits, not log2: log2 in floating point is wrong just below a power of two. A byte below
 * `least` (0 or 1) becomes `least`, a zero block's too; a NaN or an infinity gives 255.
 */
// @ts-ignore: decorator
@inline
export function blockScale(input: usize, kept: i32, least: i32): i32 {
  // Compare bit patterns, not floats: with the sign cleared, integer order is float order, and NaN
  // sorts above infinity instead of being dropped.
  const magnitude = v128.load(MAGNITUDE);
  let top = v128.and(v128.load(input), magnitude);
  for (let offset: usize = 16; offset < <usize>BLOCK_SIZE << 2; offset += 16) {
    top = i32x4.max_s(top, v128.and(v128.load(input + offset), magnitude));
  }
  return scaleByte(laneMax(top), kept, least);
}

/** E8M0 byte for a block whose largest magnitude has these f32 bits. */
// @ts-ignore: decorator
@inline
function scaleByte(bits: i32, kept: i32, least: i32): i32 {
  const exponent = bits >> 23; // biased by 127; 0 for zero and subnormals
  if (exponent == 255) return E8M0_NAN;
  const up = (bits & 0x7fffff) > kept ? 1 : 0;
  return max(exponent - E2M1_EMAX + up, least);
}

/** 1 / X = 2^(127 − byte) as f32, for bytes 0 … 253. */
// @ts-ignore: decorator
@inline
export function inverseScale(byte: i32): f32 {
  return reinterpret<f32>((254 - byte) << 23);
}

/** X = 2^(byte − 127) as f32; NaN for 255. */
// @ts-ignore: decorator
@inline
export function scaleValue(byte: i32): f32 {
  if (byte == E8M0_NAN) return NaN;
  return reinterpret<f32>(byte == 0 ? 0x00400000 : byte << 23); // 2^−127 is subnormal
}

/** Largest of the four i32 lanes. */
// @ts-ignore: decorator
@inline
function laneMax(v: v128): i32 {
  v = i32x4.max_s(v, i32x4.shuffle(v, v, 2, 3, 0, 1));
  v = i32x4.max_s(v, i32x4.shuffle(v, v, 1, 0, 3, 2));
  return i32x4.extract_lane(v, 0);
}
