/**
 * E2M1, OCP MX v1.0 §5.3.3: sign, two exponent bits (bias 1), one mantissa bit.
 *
 *   code    0  1    2  3    4  5  6  7      bit 3 is the sign
 *   value   0  0.5  1  1.5  2  3  4  6
 */

/** Codes (i8 lanes 0 … 15) to the integers 2 · value. */
// @ts-ignore: decorator
@inline
export function doubledValues(codes: v128): v128 {
  return i8x16.swizzle(
    i8x16(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12),
    codes,
  );
}

/** High bytes of the values as bf16, which holds each of them exactly, −0 included. */
// @ts-ignore: decorator
@inline
export function bf16HighBytes(codes: v128): v128 {
  return i8x16.swizzle(
    i8x16(
      0x00, 0x3f, 0x3f, 0x3f, 0x40, 0x40, 0x40, 0x40,
      -0x80, -0x41, -0x41, -0x41, -0x40, -0x40, -0x40, -0x40,
    ),
    codes,
  );
}

/** Low bytes of the values as bf16. */
// @ts-ignore: decorator
@inline
export function bf16LowBytes(codes: v128): v128 {
  return i8x16.swizzle(
    i8x16(
      0x00, 0x00, -0x80, -0x40, 0x00, 0x40, -0x80, -0x40,
      0x00, 0x00, -0x80, -0x40, 0x00, 0x40, -0x80, -0x40,
    ),
    codes,
  );
}

/** Codes 0 … 15 and 16 … 31 of a block (i8 lanes) to its 16 bytes, the even index in the low nibble. */
// @ts-ignore: decorator
@inline
export function packNibbles(first: v128, second: v128): v128 {
  // In an i16 lane: low byte = even code, high byte = odd code. The shift moves the odd one down by 4.
  const low = v128.and(v128.or(first, i16x8.shr_u(first, 4)), i16x8.splat(0xff));
  const high = v128.and(v128.or(second, i16x8.shr_u(second, 4)), i16x8.splat(0xff));
  return i8x16.narrow_i16x8_u(low, high);
}

/** Even-index codes of a packed block, in i8 lanes. */
// @ts-ignore: decorator
@inline
export function evenCodes(packed: v128): v128 {
  return v128.and(packed, i8x16.splat(15));
}

/** Odd-index codes of a packed block, in i8 lanes. */
// @ts-ignore: decorator
@inline
export function oddCodes(packed: v128): v128 {
  return i8x16.shr_u(packed, 4);
}

/** Sign bits (8 or 0, i8 lanes) of 16 f32 at `input`. */
// @ts-ignore: decorator
@inline
export function signBits(input: usize): v128 {
  const low = i16x8.narrow_i32x4_s(
    i32x4.shr_s(v128.load(input), 31),
    i32x4.shr_s(v128.load(input, 16), 31),
  );
  const high = i16x8.narrow_i32x4_s(
    i32x4.shr_s(v128.load(input, 32), 31),
    i32x4.shr_s(v128.load(input, 48), 31),
  );
  return v128.and(i8x16.narrow_i16x8_s(low, high), i8x16.splat(8));
}
