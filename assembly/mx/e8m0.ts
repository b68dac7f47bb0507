import { BLOCK_F32_BYTES, E8M0_NAN } from "./block";

/**
 * Scale rules. `max` is the largest magnitude of the elements' type, `emax` its exponent: 6 and 2 for
 * E2M1, 448 and 8 for E4M3, 57344 and 15 for E5M2.
 */
/** X = 2^(floor(log2 amax) − emax), the rule of OCP MX v1.0 §6.3: what exceeds max · X clips. */
// @ts-ignore: decorator
@inline export const SCALE_FLOOR: i32 = 0;
/** X = 2^ceil(log2(amax / max)): the smallest power of two for which nothing clips. */
// @ts-ignore: decorator
@inline export const SCALE_RCEIL: i32 = 1;
/** X = 2^(ceil(log2 amax) − emax). */
// @ts-ignore: decorator
@inline export const SCALE_CEIL: i32 = 2;
/** X = 2^(floor(log2 r) − emax), r = amax rounded to the elements' mantissa bits, halves up. */
// @ts-ignore: decorator
@inline export const SCALE_EVEN: i32 = 3;
/** The scale of SCALE_RCEIL or half of it, whichever has the smaller squared error (least-squares.ts). */
// @ts-ignore: decorator
@inline export const SCALE_MSE: i32 = 4;

/**
 * What a rule adds to the bits of amax, so that their exponent becomes floor(log2 X) + emax: a carry out of the
 * mantissa rounds up. `maxMantissa` is the mantissa of max as f32 bits: of 1.5 for E2M1, of 1.75 for the 8-bit types;
 * `mantissaBits` are the elements'.
 */
// @ts-ignore: decorator
@inline
export function scaleCarry(rule: i32, maxMantissa: i32, mantissaBits: i32): i32 {
  if (rule == SCALE_RCEIL || rule == SCALE_MSE) return 0x7fffff - maxMantissa;
  if (rule == SCALE_CEIL) return 0x7fffff; // above 1
  if (rule == SCALE_EVEN) return 0x400000 >> mantissaBits;
  return 0;
}

// @ts-ignore: decorator
@inline const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);

/**
 * E8M0 bytes of the blocks of 32 f32 from `input` to `end`.
 *
 * Exponent bits, not log2: log2 in floating point is wrong just below a power of two. A byte below
 * `least` (0 or 1) becomes `least`, a zero block's too; a NaN or an infinity gives 255.
 */
export function chooseScales(
  scales: usize, input: usize, end: usize, carry: i32, emax: i32, least: i32,
): void {
  for (; input + 4 * BLOCK_F32_BYTES <= end; input += 4 * BLOCK_F32_BYTES, scales += 4) {
    const top0 = blockTop(input);
    const top1 = blockTop(input + BLOCK_F32_BYTES);
    const top2 = blockTop(input + 2 * BLOCK_F32_BYTES);
    const top3 = blockTop(input + 3 * BLOCK_F32_BYTES);
    // The largest of each block, one per lane: the two halves of a transposition.
    const top01 = i32x4.max_s(interleaveLow(top0, top1), interleaveHigh(top0, top1));
    const top23 = i32x4.max_s(interleaveLow(top2, top3), interleaveHigh(top2, top3));
    const top = i32x4.max_s(i64x2.shuffle(top01, top23, 0, 2), i64x2.shuffle(top01, top23, 1, 3));
    const bytes = scaleBytes(top, carry, emax, least);
    const narrowed = i16x8.narrow_i32x4_s(bytes, bytes);
    v128.store32_lane(scales, i8x16.narrow_i16x8_u(narrowed, narrowed), 0);
  }
  for (; input < end; input += BLOCK_F32_BYTES, scales++) {
    let top = blockTop(input);
    top = i32x4.max_s(top, i32x4.shuffle(top, top, 2, 3, 0, 1));
    top = i32x4.max_s(top, i32x4.shuffle(top, top, 1, 0, 3, 2));
    store<u8>(scales, <u8>i32x4.extract_lane(scaleBytes(top, carry, emax, least), 0));
  }
}

/** Bits of one block's largest magnitude, by lane. */
// @ts-ignore: decorator
@inline
function blockTop(input: usize): v128 {
  // Bit patterns, not floats: with the sign cleared, integer order is float order, and NaN sorts
  // above infinity instead of being dropped.
  const magnitude = v128.load(MAGNITUDE);
  let top = v128.and(v128.load(input), magnitude);
  top = i32x4.max_s(top, v128.and(v128.load(input, 16), magnitude));
  top = i32x4.max_s(top, v128.and(v128.load(input, 32), magnitude));
  top = i32x4.max_s(top, v128.and(v128.load(input, 48), magnitude));
  top = i32x4.max_s(top, v128.and(v128.load(input, 64), magnitude));
  top = i32x4.max_s(top, v128.and(v128.load(input, 80), magnitude));
  top = i32x4.max_s(top, v128.and(v128.load(input, 96), magnitude));
  return i32x4.max_s(top, v128.and(v128.load(input, 112), magnitude));
}

// @ts-ignore: decorator
@inline
function interleaveLow(a: v128, b: v128): v128 {
  return i32x4.shuffle(a, b, 0, 4, 1, 5);
}

// @ts-ignore: decorator
@inline
function interleaveHigh(a: v128, b: v128): v128 {
  return i32x4.shuffle(a, b, 2, 6, 3, 7);
}

/** E8M0 bytes of blocks from the bits of their largest magnitudes, in i32 lanes. */
// @ts-ignore: decorator
@inline
function scaleBytes(top: v128, carry: i32, emax: i32, least: i32): v128 {
  // Exponents are biased by 127, and 0 for zero and subnormals.
  const exponent = i32x4.shr_u(i32x4.add(top, i32x4.splat(carry)), 23);
  const finite = i32x4.max_s(i32x4.sub(exponent, i32x4.splat(emax)), i32x4.splat(least));
  const isFinite = i32x4.lt_s(top, i32x4.splat(0x7f800000));
  return v128.bitselect(finite, i32x4.splat(E8M0_NAN), isFinite);
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
