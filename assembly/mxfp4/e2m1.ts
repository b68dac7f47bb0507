/**
 * E2M1, OCP MX v1.0 §5.3.3: sign, two exponent bits (bias 1), one mantissa bit.
 *
 *   code    0  1    2  3    4  5  6  7      bit 3 is the sign
 *   value   0  0.5  1  1.5  2  3  4  6
 */

/** The values as bf16, which represents them exactly, −0 included: by code, high bytes, low bytes. */
// @ts-ignore: decorator
@inline const BF16_HIGH_BYTES: usize = memory.data<u8>([
  0x00, 0x3f, 0x3f, 0x3f, 0x40, 0x40, 0x40, 0x40, 0x80, 0xbf, 0xbf, 0xbf, 0xc0, 0xc0, 0xc0, 0xc0,
], 16);
// @ts-ignore: decorator
@inline const BF16_LOW_BYTES: usize = memory.data<u8>([
  0x00, 0x00, 0x80, 0xc0, 0x00, 0x40, 0x80, 0xc0, 0x00, 0x00, 0x80, 0xc0, 0x00, 0x40, 0x80, 0xc0,
], 16);
/** Mask of the bits below E2M1's step, by number of half-units: 0 below 4, 1 below 8, then 3. */
// @ts-ignore: decorator
@inline export const BELOW_STEP: usize = memory.data<u8>([0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 0, 0, 0], 16);
/** The code by number of half-units, rounded down to E2M1's step. */
// @ts-ignore: decorator
@inline export const CODES: usize = memory.data<u8>([0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7], 16);
// @ts-ignore: decorator
@inline const LOW_NIBBLES: usize = memory.data<u32>([0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f], 16);
// @ts-ignore: decorator
@inline const LOW_BYTES: usize = memory.data<u32>([0x00ff00ff, 0x00ff00ff, 0x00ff00ff, 0x00ff00ff], 16);
/** 1, 16 in i8 lanes. */
// @ts-ignore: decorator
@inline const NIBBLE_WEIGHTS: usize = memory.data<u32>([0x10011001, 0x10011001, 0x10011001, 0x10011001], 16);
// @ts-ignore: decorator
@inline const SIGN_OF_CODE: usize = memory.data<u32>([0x08080808, 0x08080808, 0x08080808, 0x08080808], 16);

/**
 * table[index], a table of 16 bytes. For indices below 16 the relaxed swizzle, one instruction, is exact; Node 20
 * does not have it.
 */
// @ts-ignore: decorator
@inline
export function lookUp(table: usize, indices: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i8x16.relaxed_swizzle(v128.load(table), indices);
  return i8x16.swizzle(v128.load(table), indices);
}

/** High bytes of the values of codes (i8 lanes 0 … 15) as bf16. */
// @ts-ignore: decorator
@inline
export function bf16HighBytes(codes: v128): v128 {
  return lookUp(BF16_HIGH_BYTES, codes);
}

/** Low bytes of the values of codes as bf16. */
// @ts-ignore: decorator
@inline
export function bf16LowBytes(codes: v128): v128 {
  return lookUp(BF16_LOW_BYTES, codes);
}

/** Packs codes 0 … 15 and 16 … 31 of a block (i8 lanes) to 16 bytes, the even index in the low nibble. */
// @ts-ignore: decorator
@inline
export function packNibbles(first: v128, second: v128): v128 {
  // In an i16 lane: low byte = even code, high byte = odd code; even + 16 · odd.
  if (ASC_FEATURE_RELAXED_SIMD) {
    const weights = v128.load(NIBBLE_WEIGHTS);
    return i8x16.narrow_i16x8_u(
      i16x8.relaxed_dot_i8x16_i7x16_s(first, weights),
      i16x8.relaxed_dot_i8x16_i7x16_s(second, weights),
    );
  }
  const lowBytes = v128.load(LOW_BYTES);
  const low = v128.and(v128.or(first, i16x8.shr_u(first, 4)), lowBytes);
  const high = v128.and(v128.or(second, i16x8.shr_u(second, 4)), lowBytes);
  return i8x16.narrow_i16x8_u(low, high);
}

/** Even-index codes of a packed block, in i8 lanes. */
// @ts-ignore: decorator
@inline
export function evenCodes(packed: v128): v128 {
  return v128.and(packed, v128.load(LOW_NIBBLES));
}

/** Odd-index codes of a packed block, in i8 lanes. */
// @ts-ignore: decorator
@inline
export function oddCodes(packed: v128): v128 {
  return v128.and(i16x8.shr_u(packed, 4), v128.load(LOW_NIBBLES));
}

/**
 * Sign bits (8 or 0, i8 lanes) of the f32 whose bits were narrowed to i16 lanes: saturation keeps the
 * sign.
 */
// @ts-ignore: decorator
@inline
export function signBits(first: v128, second: v128): v128 {
  return v128.and(i16x8.shr_u(i8x16.narrow_i16x8_s(first, second), 4), v128.load(SIGN_OF_CODE));
}
