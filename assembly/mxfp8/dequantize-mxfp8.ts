import { BLOCK_F32_BYTES, BLOCK_SIZE } from "../mx/block";
import { scaleValue } from "../mx/e8m0";
import { BIAS, E5M2, float8Table, LEAST_NORMAL, mantissaBits, MAX_SHIFTED } from "./float8";

/** Constants of the inner loop, in memory for the reason given in float8.ts. */
// @ts-ignore: decorator
@inline const SIGN: usize = memory.data<u32>([0x80000000, 0x80000000, 0x80000000, 0x80000000], 16);
// @ts-ignore: decorator
@inline const MAGNITUDE_CODE: usize = memory.data<u32>([0x7f, 0x7f, 0x7f, 0x7f], 16);
/** f32's largest exponent, that of infinities and NaNs. */
// @ts-ignore: decorator
@inline const EXPONENT: usize = memory.data<u32>([0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000], 16);
/** f32 bits below it have exponent 0. */
// @ts-ignore: decorator
@inline const ONE_BINADE: usize = memory.data<u32>([0x00800000, 0x00800000, 0x00800000, 0x00800000], 16);

/**
 * f32 values of MXFP8.
 *
 *   out = E4M3 or E5M2 value · 2^(scale − 127)        scale 255 gives NaN; −0 stays −0
 *
 * Exact, except that values beyond f32 become infinities.
 *
 * Shapes:   out f32 [length], 16-byte aligned; elements u8 [length]; scales u8 [length / 32]
 * Requires: length % 32 == 0; element 0 (E4M3) or 1 (E5M2)
 * Source:   OCP MX v1.0 §5.3.1 and §5.4.1
 */
export function dequantizeMxfp8(
  out: usize, elements: usize, scales: usize, length: i32, element: i32,
): void {
  assert(length % BLOCK_SIZE == 0, "length must be a multiple of 32");
  assert((out & 15) == 0, "out must be 16-byte aligned");
  assert(element >= 0 && element <= E5M2, "element must be 0 or 1");

  const table = float8Table(element);
  const shift = 23 - mantissaBits(element);
  const end = out + (<usize>length << 2);
  for (; out < end; out += BLOCK_F32_BYTES, elements += BLOCK_SIZE, scales++) {
    const scale = f32x4.splat(scaleValue(load<u8>(scales)));
    decode16(out, v128.load(elements), scale, table, shift);
    decode16(out + 64, v128.load(elements, 16), scale, table, shift);
  }
}

/** 16 codes (i8 lanes) times `scale` to f32 at `out`. */
// @ts-ignore: decorator
@inline
function decode16(out: usize, codes: v128, scale: v128, table: usize, shift: i32): void {
  const low = i16x8.extend_low_i8x16_s(codes);
  const high = i16x8.extend_high_i8x16_s(codes);
  v128.store(out, f32x4.mul(decode4(i32x4.extend_low_i16x8_s(low), table, shift), scale));
  v128.store(out, f32x4.mul(decode4(i32x4.extend_high_i16x8_s(low), table, shift), scale), 16);
  v128.store(out, f32x4.mul(decode4(i32x4.extend_low_i16x8_s(high), table, shift), scale), 32);
  v128.store(out, f32x4.mul(decode4(i32x4.extend_high_i16x8_s(high), table, shift), scale), 48);
}

/** f32 of codes in i32 lanes, sign extended. */
// @ts-ignore: decorator
@inline
function decode4(codes: v128, table: usize, shift: i32): v128 {
  const magnitude = i32x4.shl(v128.and(codes, v128.load(MAGNITUDE_CODE)), shift);
  const normal = i32x4.add(magnitude, v128.load(table, BIAS));
  // A subnormal is the smallest normal value with its mantissa, minus that value.
  const least = v128.load(table, LEAST_NORMAL);
  const subnormal = f32x4.sub(i32x4.add(magnitude, least), least);
  const isSubnormal = i32x4.lt_s(magnitude, v128.load(ONE_BINADE));
  const value = v128.bitselect(subnormal, normal, isSubnormal);
  const isSpecial = i32x4.gt_s(magnitude, v128.load(table, MAX_SHIFTED));
  const special = v128.and(isSpecial, v128.load(EXPONENT));
  return v128.or(v128.or(value, special), v128.and(codes, v128.load(SIGN)));
}
