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
import { exp4 } from "./exp";
import { loadPartial, storePartial } from "./lanes";

/** 2·√(2/π) */
// @ts-ignore: decorator
@inline const SLOPE: f32 = 1.5957691216057308;
// @ts-ignore: decorator
@inline const CUBIC: f32 = 0.044715;
/** σ(z) is 0 or 1 in f32 beyond |x| = 16; there x³ needs no computing, and cannot overflow. */
// @ts-ignore: decorator
@inline const SATURATED: f32 = 16;

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
  const z = sigmoidArgument4(saturate4(x));
  const e = exp4(v128.or(z, f32x4.splat(-0.0)));
  const larger = f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), e));
  const negative = f32x4.lt(z, f32x4.splat(0));
  return f32x4.mul(x, v128.bitselect(f32x4.mul(e, larger), larger, negative));
}

/** σ(z) + x · σ(z) · (1 − σ(z)) · z′ */
// @ts-ignore: decorator
@inline
function geluSlope4(x: v128): v128 {
  const c = saturate4(x);
  const z = sigmoidArgument4(c);
  const e = exp4(v128.or(z, f32x4.splat(-0.0)));
  const larger = f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), e));
  const smaller = f32x4.mul(e, larger);
  const negative = f32x4.lt(z, f32x4.splat(0));
  const sigmoid = v128.bitselect(smaller, larger, negative);
  const square = f32x4.mul(f32x4.splat(3 * CUBIC), f32x4.mul(c, c));
  const zSlope = f32x4.mul(f32x4.splat(SLOPE), f32x4.add(f32x4.splat(1), square));
  const bell = f32x4.mul(f32x4.mul(smaller, larger), zSlope);
  return f32x4.add(sigmoid, f32x4.mul(x, bell));
}

/** x within ±SATURATED; NaN stays NaN. */
// @ts-ignore: decorator
@inline
function saturate4(x: v128): v128 {
  return f32x4.pmin(f32x4.pmax(x, f32x4.splat(-SATURATED)), f32x4.splat(SATURATED));
}

/** z = 2·√(2/π) · c · (1 + 0.044715·c²) */
// @ts-ignore: decorator
@inline
function sigmoidArgument4(c: v128): v128 {
  const square = f32x4.mul(f32x4.splat(CUBIC), f32x4.mul(c, c));
  return f32x4.mul(
    f32x4.mul(f32x4.splat(SLOPE), c),
    f32x4.add(f32x4.splat(1), square),
  );
}
