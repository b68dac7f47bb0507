/**
 * GELU in its tanh form, written with a sigmoid:
 *
 *   gelu(x) = x · σ(z),  z = 2·√(2/π) · (x + 0.044715·x³)
 *
 * x · σ(z) is ½·x·(1 + tanh(z / 2)) without the cancellation for negative x. e^−|z| is at most 1, so
 * nothing overflows, and 1 − σ is computed, not subtracted.
 *
 * Source: Hendrycks & Gimpel, arXiv 1606.08415, as GPT-2 uses it
 */
import { exp4 } from "../simd/exp";
import { loadPartial, storePartial } from "../simd/lanes";

/**
 * Constants, four lanes each, loaded as in exp.ts. σ(z) is 0 or 1 in f32 beyond |x| = 16; there x³
 * needs no computing, and cannot overflow.
 */
const CONSTANTS = memory.data<f32>([
  -16, -16, -16, -16,
  16, 16, 16, 16,
  0.044715, 0.044715, 0.044715, 0.044715,
  0.134145, 0.134145, 0.134145, 0.134145, // 3 · 0.044715
  1.5957691216057308, 1.5957691216057308, 1.5957691216057308, 1.5957691216057308, // 2·√(2/π)
  1, 1, 1, 1,
  -0.0, -0.0, -0.0, -0.0,
], 16);

/** out = gelu(x). f32 [length] each; `out` may be `x`. */
export function geluForwardF32(out: usize, x: usize, length: i32): void {
  assert(length >= 0, "length must not be negative");

  let i: i32 = 0;
  for (; i + 4 <= length; i += 4) {
    const at = <usize>i << 2;
    v128.store(out + at, gelu4(v128.load(x + at)));
  }
  const at = <usize>i << 2;
  storePartial(out + at, gelu4(loadPartial(x + at, length - i, 0)), length - i);
}

/** dX = dOut · gelu′(x). f32 [length] each; `dX` may be `dOut`. */
export function geluBackwardF32(dX: usize, dOut: usize, x: usize, length: i32): void {
  assert(length >= 0, "length must not be negative");

  let i: i32 = 0;
  for (; i + 4 <= length; i += 4) {
    const at = <usize>i << 2;
    const slope = geluSlope4(v128.load(x + at));
    v128.store(dX + at, f32x4.mul(v128.load(dOut + at), slope));
  }
  const at = <usize>i << 2;
  const rest = length - i;
  const slope = geluSlope4(loadPartial(x + at, rest, 0));
  storePartial(dX + at, f32x4.mul(loadPartial(dOut + at, rest, 0), slope), rest);
}

// @ts-ignore: decorator
@inline
function gelu4(x: v128): v128 {
  const c = saturate4(x);
  const z = f32x4.mul(f32x4.mul(constant(4), c), polynomial4(f32x4.mul(c, c), 2));
  const e = exp4(v128.or(z, constant(6))); // e^−|z|
  const larger = f32x4.div(constant(5), f32x4.add(constant(5), e)); // σ(|z|)
  const smaller = f32x4.mul(e, larger); // 1 − σ(|z|)
  return f32x4.mul(x, v128.bitselect(smaller, larger, i32x4.shr_s(z, 31)));
}

/** σ(z) + x · σ(z) · (1 − σ(z)) · z′ */
// @ts-ignore: decorator
@inline
function geluSlope4(x: v128): v128 {
  const c = saturate4(x);
  const square = f32x4.mul(c, c);
  const z = f32x4.mul(f32x4.mul(constant(4), c), polynomial4(square, 2));
  const e = exp4(v128.or(z, constant(6)));
  const larger = f32x4.div(constant(5), f32x4.add(constant(5), e));
  const smaller = f32x4.mul(e, larger);
  const sigmoid = v128.bitselect(smaller, larger, i32x4.shr_s(z, 31));
  const zSlope = f32x4.mul(constant(4), polynomial4(square, 3));
  const bell = f32x4.mul(f32x4.mul(smaller, larger), zSlope);
  return f32x4.add(sigmoid, f32x4.mul(x, bell));
}

/** x within ±16; NaN stays NaN. */
// @ts-ignore: decorator
@inline
function saturate4(x: v128): v128 {
  return f32x4.pmin(f32x4.pmax(x, constant(0)), constant(1));
}

/** 1 + coefficient · square */
// @ts-ignore: decorator
@inline
function polynomial4(square: v128, coefficient: usize): v128 {
  return f32x4.add(constant(5), f32x4.mul(constant(coefficient), square));
}

// @ts-ignore: decorator
@inline
function constant(index: usize): v128 {
  return v128.load(CONSTANTS + 16 * index);
}
