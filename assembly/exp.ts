import { loadPartial, storePartial } from "./lanes";

/**
 * e^x in four f32 lanes, within 2 ulp, subnormal results included.
 *
 *   n = round(x / ln 2);  r = x − n·ln 2;  e^x = 2^n · (1 + r + r²·p(r))
 *
 * NaN stays NaN, +∞ gives +∞, −∞ gives 0. Plain multiplies and adds: the same bits everywhere.
 *
 * Source: coefficients of Cephes expf (S. L. Moshier, public domain), ln 2 split as there
 */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  // Beyond these the result is ∞ or 0 anyway. In this order of arguments a NaN goes through.
  x = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-104.0)), f32x4.splat(89.0));

  const n = f32x4.nearest(f32x4.mul(x, f32x4.splat(1.44269504088896341)));
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.add(r, f32x4.mul(n, f32x4.splat(2.12194440e-4)));

  let p = f32x4.splat(1.9875691500e-4);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.3981999507e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(8.3334519073e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(4.1665795894e-2));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.6666665459e-1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(5.0000001201e-1));
  p = f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r);
  p = f32x4.add(p, f32x4.splat(1.0));

  // 2^n in two factors, since n reaches from −150 to 128.
  const exponent = i32x4.trunc_sat_f32x4_s(n);
  const half = i32x4.shr_s(exponent, 1);
  p = f32x4.mul(p, powerOfTwo(half));
  return f32x4.mul(p, powerOfTwo(i32x4.sub(exponent, half)));
}

/** 2^n for lanes of n in −126 … 127. */
// @ts-ignore: decorator
@inline
function powerOfTwo(n: v128): v128 {
  return i32x4.shl(i32x4.add(n, i32x4.splat(127)), 23);
}

/** out = e^x. f32 [length] each; `out` may be `x`. */
export function expF32(out: usize, x: usize, length: i32): void {
  assert(length >= 0, "length must not be negative");

  let i: i32 = 0;
  for (; i + 4 <= length; i += 4) {
    const offset = <usize>i << 2;
    v128.store(out + offset, exp4(v128.load(x + offset)));
  }
  const offset = <usize>i << 2;
  storePartial(out + offset, exp4(loadPartial(x + offset, length - i, 0)), length - i);
}
