/**
 * Conversion between f32 and IEEE 754 binary16 (f16).
 *
 *   f16   1 sign bit, 5 exponent bits (bias 15), 10 mantissa bits: 13 fewer than f32's, bias 112 lower
 */

/** Constants, one v128 each, in memory: V8 rebuilds a v128 constant from immediates at each use. */
// @ts-ignore: decorator
@inline const SIGN: usize = memory.data<u32>([0x80000000, 0x80000000, 0x80000000, 0x80000000], 16);
// @ts-ignore: decorator
@inline const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);
/** The bit of f16's sign after shifting its exponent to f32's position. */
// @ts-ignore: decorator
@inline const F16_SIGN: usize = memory.data<u32>([0x10000000, 0x10000000, 0x10000000, 0x10000000], 16);
/** The exponent bits of f16, shifted to f32's position. */
// @ts-ignore: decorator
@inline const EXPONENT: usize = memory.data<u32>([0x0f800000, 0x0f800000, 0x0f800000, 0x0f800000], 16);
/** The difference of the biases. */
// @ts-ignore: decorator
@inline const BIAS: usize = memory.data<u32>([0x38000000, 0x38000000, 0x38000000, 0x38000000], 16);
/** 2^−14, the least normal f16. */
// @ts-ignore: decorator
@inline const LEAST_NORMAL: usize = memory.data<u32>([0x38800000, 0x38800000, 0x38800000, 0x38800000], 16);
/** 1/2, whose last bit as an f32 is the step of subnormal f16. */
// @ts-ignore: decorator
@inline const HALF: usize = memory.data<u32>([0x3f000000, 0x3f000000, 0x3f000000, 0x3f000000], 16);
// @ts-ignore: decorator
@inline const INFINITY: usize = memory.data<u32>([0x7c00, 0x7c00, 0x7c00, 0x7c00], 16);
// @ts-ignore: decorator
@inline const NOT_A_NUMBER: usize = memory.data<u32>([0x7e00, 0x7e00, 0x7e00, 0x7e00], 16);

/** f32 values of f16 bits, exactly. out f32 [length]; bits u16 [length]. */
export function decodeF16(out: usize, bits: usize, length: i32): void {
  const end = bits + (<usize>length << 1);
  const vectorEnd = bits + (<usize>(length & ~7) << 1);
  for (; bits < vectorEnd; bits += 16, out += 32) {
    const packed = v128.load(bits);
    v128.store(out, decode4(i32x4.extend_low_i16x8_u(packed)));
    v128.store(out, decode4(i32x4.extend_high_i16x8_u(packed)), 16);
  }
  for (; bits < end; bits += 2, out += 4) {
    store<f32>(out, f32x4.extract_lane(decode4(i32x4.splat(load<u16>(bits))), 0));
  }
}

/** f32 of f16 bits in u32 lanes. */
// @ts-ignore: decorator
@inline
function decode4(bits: v128): v128 {
  const sign = v128.and(i32x4.shl(bits, 16), v128.load(SIGN));
  const magnitude = v128.andnot(i32x4.shl(bits, 13), v128.load(F16_SIGN));
  const exponent = v128.and(magnitude, v128.load(EXPONENT));
  const bias = v128.load(BIAS);
  // Infinities and NaNs have f32's largest exponent, which is another bias up.
  const special = v128.and(i32x4.eq(exponent, v128.load(EXPONENT)), bias);
  const normal = i32x4.add(magnitude, i32x4.add(bias, special));
  // A subnormal m · 2^−24 is 2^−14 with the mantissa m, less 2^−14.
  const least = v128.load(LEAST_NORMAL);
  const subnormal = f32x4.sub(i32x4.add(magnitude, least), least);
  const isSubnormal = i32x4.eq(exponent, i32x4.splat(0));
  return v128.or(v128.bitselect(subnormal, normal, isSubnormal), sign);
}

/**
 * f16 bits of `x`, to nearest, ties to even; a NaN becomes 0x7e00, overflow an infinity.
 *
 * Shapes:   out u16 [length]; x f32 [length]
 */
export function encodeF16(out: usize, x: usize, length: i32): void {
  const end = x + (<usize>length << 2);
  const vectorEnd = x + (<usize>(length & ~7) << 2);
  for (; x < vectorEnd; x += 32, out += 16) {
    v128.store(out, i16x8.narrow_i32x4_u(encodeF16Lanes(v128.load(x)), encodeF16Lanes(v128.load(x, 16))));
  }
  for (; x < end; x += 4, out += 2) {
    store<u16>(out, <u16>i32x4.extract_lane(encodeF16Lanes(v128.load32_splat(x)), 0));
  }
}

/** The f32 lanes of `x` as f16 bits in u32 lanes. */
// @ts-ignore: decorator
@inline
export function encodeF16Lanes(x: v128): v128 {
  const magnitude = v128.and(x, v128.load(MAGNITUDE));
  const sign = i32x4.shr_u(v128.xor(x, magnitude), 16);
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const rounded = i32x4.add(i32x4.add(magnitude, i32x4.splat(0xfff)), odd);
  const normal = i32x4.min_s(
    i32x4.shr_u(i32x4.sub(rounded, v128.load(BIAS)), 13),
    v128.load(INFINITY),
  );
  const half = v128.load(HALF);
  const subnormal = i32x4.sub(f32x4.add(magnitude, half), half);
  const isSubnormal = i32x4.lt_s(magnitude, v128.load(LEAST_NORMAL));
  const bits = v128.or(v128.bitselect(subnormal, normal, isSubnormal), sign);
  return v128.bitselect(bits, v128.load(NOT_A_NUMBER), f32x4.eq(x, x));
}
