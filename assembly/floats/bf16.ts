import { noise4 } from "../random/noise";

/** bf16 bits of a NaN. */
// @ts-ignore: decorator
@inline const BF16_NAN: u32 = 0x7fc0;

/**
 * bf16 bits of `x`, to nearest, ties to even; a NaN becomes 0x7fc0, overflow an infinity.
 *
 *   bits = (u + 0x7fff + bit 16 of u) >> 16, u the f32 bits
 *
 * Shapes:   out u16 [length]; x f32 [length]
 */
export function encodeBf16(out: usize, x: usize, length: i32): void {
  const end = x + (<usize>length << 2);
  const vectorEnd = x + (<usize>(length & ~7) << 2);
  for (; x < vectorEnd; x += 32, out += 16) {
    v128.store(out, i16x8.narrow_i32x4_u(roundLanes(v128.load(x)), roundLanes(v128.load(x, 16))));
  }
  for (; x < end; x += 4, out += 2) store<u16>(out, <u16>roundBits(load<u32>(x)));
}

/** The f32 lanes of `x` as bf16 bits in u32 lanes. */
// @ts-ignore: decorator
@inline function roundLanes(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(x, i32x4.splat(0x7fff)), odd), 16);
  return v128.bitselect(rounded, i32x4.splat(<i32>BF16_NAN), f32x4.eq(x, x));
}

// @ts-ignore: decorator
@inline function isNaNBits(bits: u32): bool {
  return (bits & 0x7fffffff) > 0x7f800000;
}

// @ts-ignore: decorator
@inline function roundBits(bits: u32): u32 {
  return isNaNBits(bits) ? BF16_NAN : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

/**
 * bf16 bits of `x`, rounded up in magnitude with the probability of the part that is cut off, so
 * that E[decode(out)] = x. Infinities stay; a NaN becomes 0x7fc0.
 *
 *   bits = (u + r) >> 16, r the element's 16 bits of noise
 *
 * Shapes:   out u16 [length]; x f32 [length]
 * Random:   element 2j takes the low half of noise(key, firstPair + j), 2j + 1 the high half
 */
export function encodeBf16Stochastic(
  out: usize, x: usize, length: i32, key0: u32, key1: u32, firstPair: u32,
): void {
  const keys0 = i32x4.splat(key0);
  const keys1 = i32x4.splat(key1);
  let pairs = i32x4.add(i32x4.splat(firstPair), i32x4(0, 1, 2, 3));
  const end = x + (<usize>length << 2);
  const vectorEnd = x + (<usize>(length & ~7) << 2);
  for (; x < vectorEnd; x += 32, out += 16) {
    const random = noise4(keys0, keys1, pairs);
    const low = roundLanesBy(v128.load(x), i32x4.extend_low_i16x8_u(random));
    const high = roundLanesBy(v128.load(x, 16), i32x4.extend_high_i16x8_u(random));
    v128.store(out, i16x8.narrow_i32x4_u(low, high));
    pairs = i32x4.add(pairs, i32x4.splat(4));
  }
  let random = i32x4.extend_low_i16x8_u(noise4(keys0, keys1, pairs));
  for (let lane = 0; x < end; x += 4, out += 2, lane++) {
    if (lane == 4) random = i32x4.extend_high_i16x8_u(noise4(keys0, keys1, pairs));
    store<u16>(out, <u16>i32x4.extract_lane(roundLanesBy(v128.load32_splat(x), random), 0));
    random = i32x4.shuffle(random, random, 1, 2, 3, 0);
  }
}

/** The f32 lanes of `x`, with `random` added below bf16's last bit, as bf16 bits in u32 lanes. */
// @ts-ignore: decorator
@inline
function roundLanesBy(x: v128, random: v128): v128 {
  const exponent = i32x4.splat(0x7f800000);
  const isSpecial = i32x4.eq(v128.and(x, exponent), exponent);
  const rounded = i32x4.shr_u(i32x4.add(x, v128.andnot(random, isSpecial)), 16);
  return v128.bitselect(rounded, i32x4.splat(<i32>BF16_NAN), f32x4.eq(x, x));
}

/** f32 values of bf16 bits. out f32 [length]; bits u16 [length]. */
export function decodeBf16(out: usize, bits: usize, length: i32): void {
  const end = bits + (<usize>length << 1);
  const vectorEnd = bits + (<usize>(length & ~7) << 1);
  const zero = i32x4.splat(0);
  for (; bits < vectorEnd; bits += 16, out += 32) {
    const packed = v128.load(bits);
    v128.store(out, i16x8.shuffle(zero, packed, 0, 8, 1, 9, 2, 10, 3, 11));
    v128.store(out, i16x8.shuffle(zero, packed, 4, 12, 5, 13, 6, 14, 7, 15), 16);
  }
  for (; bits < end; bits += 2, out += 4) store<u32>(out, <u32>load<u16>(bits) << 16);
}
