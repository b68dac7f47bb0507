import { encodeF16Lanes } from "../floats/f16";

/** Elements of a block, and its bytes: an f16 scale, then an i8 for each element. */
// @ts-ignore: decorator
@inline const BLOCK_SIZE: i32 = 32;
// @ts-ignore: decorator
@inline const BLOCK_F32_BYTES: usize = 128;
// @ts-ignore: decorator
@inline const BLOCK_BYTES: usize = 34;

/** Constants, one v128 each, in memory: V8 rebuilds a v128 constant from immediates at each use. */
// @ts-ignore: decorator
@inline const MAGNITUDE: usize = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16);
// @ts-ignore: decorator
@inline const HALF: usize = memory.data<f32>([0.5, 0.5, 0.5, 0.5], 16);
// @ts-ignore: decorator
@inline const ONE: usize = memory.data<f32>([1, 1, 1, 1], 16);
// @ts-ignore: decorator
@inline const NAN_F16: u16 = 0x7e00;
// @ts-ignore: decorator
@inline const INFINITY_F32: i32 = 0x7f800000;

/**
 * ggml's blocks {d f16, q i8 [32]} of Q8_0, x ≈ d · q.
 *
 *   d = max |x| / 127 in f32, kept as f16;  q = x · (1 / d), halves away from zero
 *
 * A block with a NaN or an infinity has scale NaN and elements 0.
 *
 * Shapes:   out u8 [34 · length / 32]; x f32 [length]
 * Requires: length % 32 == 0
 * Source:   ggml's quantize_row_q8_0_ref
 */
export function quantizeQ8(out: usize, x: usize, length: i32): void {
  assert(length % BLOCK_SIZE == 0, "length must be a multiple of 32");

  const end = x + (<usize>length << 2);
  for (; x < end; x += BLOCK_F32_BYTES, out += BLOCK_BYTES) {
    const most = mostBits(x);
    if (most >= INFINITY_F32) {
      store<u16>(out, NAN_F16);
      v128.store(out, i32x4.splat(0), 2);
      v128.store(out, i32x4.splat(0), 18);
      continue;
    }
    const scale = reinterpret<f32>(most) / 127;
    store<u16>(out, <u16>i32x4.extract_lane(encodeF16Lanes(f32x4.splat(scale)), 0));
    const inverse = f32x4.splat(scale == 0 ? 0 : 1 / scale);
    v128.store(out, round16(x, inverse), 2);
    v128.store(out, round16(x + 64, inverse), 18);
  }
}

/** The bits of the largest |x| of a block: magnitudes order as integers, infinities and NaNs above all. */
// @ts-ignore: decorator
@inline
function mostBits(x: usize): i32 {
  const magnitude = v128.load(MAGNITUDE);
  let most = i32x4.splat(0);
  for (let i: usize = 0; i < BLOCK_F32_BYTES; i += 16) {
    most = i32x4.max_s(most, v128.and(v128.load(x + i), magnitude));
  }
  most = i32x4.max_s(most, i32x4.shuffle(most, most, 2, 3, 0, 1));
  most = i32x4.max_s(most, i32x4.shuffle(most, most, 1, 0, 3, 2));
  return i32x4.extract_lane(most, 0);
}

/** 16 f32 times `inverse` as i8 lanes. */
// @ts-ignore: decorator
@inline
function round16(x: usize, inverse: v128): v128 {
  const low = i16x8.narrow_i32x4_s(round4(x, inverse), round4(x + 16, inverse));
  const high = i16x8.narrow_i32x4_s(round4(x + 32, inverse), round4(x + 48, inverse));
  return i8x16.narrow_i16x8_s(low, high);
}

/** Rounds by the truncated part, which is exact: adding 1/2 first would round 0.49999997 up. */
// @ts-ignore: decorator
@inline
function round4(x: usize, inverse: v128): v128 {
  const scaled = f32x4.mul(v128.load(x), inverse);
  const whole = f32x4.trunc(scaled);
  const up = f32x4.ge(f32x4.abs(f32x4.sub(scaled, whole)), v128.load(HALF));
  const one = v128.bitselect(v128.load(ONE), scaled, v128.load(MAGNITUDE));
  return i32x4.trunc_sat_f32x4_s(f32x4.add(whole, v128.and(one, up)));
}
