import { loadPartial, storePartial } from "./lanes";

/**
 * Constants, four lanes each, 16 bytes apart. They are loaded, not written as v128.const, because
 * V8 rebuilds those in every iteration of a loop.
 */
const CONSTANTS = memory.data<f32>([
  -104, -104, -104, -104, // beyond these the result is 0 or ∞ anyway
  89, 89, 89, 89,
  1.44269504088896341, 1.44269504088896341, 1.44269504088896341, 1.44269504088896341, // 1 / ln 2
  12582912, 12582912, 12582912, 12582912, // 1.5 · 2^23: added, it leaves an integer in the low bits
  0.693359375, 0.693359375, 0.693359375, 0.693359375, // ln 2, of which so few bits that n · it is exact,
  -2.12194440e-4, -2.12194440e-4, -2.12194440e-4, -2.12194440e-4, // and the rest of it
  1.9875691500e-4, 1.9875691500e-4, 1.9875691500e-4, 1.9875691500e-4, // p, highest power first
  1.3981999507e-3, 1.3981999507e-3, 1.3981999507e-3, 1.3981999507e-3,
  8.3334519073e-3, 8.3334519073e-3, 8.3334519073e-3, 8.3334519073e-3,
  4.1665795894e-2, 4.1665795894e-2, 4.1665795894e-2, 4.1665795894e-2,
  1.6666665459e-1, 1.6666665459e-1, 1.6666665459e-1, 1.6666665459e-1,
  5.0000001201e-1, 5.0000001201e-1, 5.0000001201e-1, 5.0000001201e-1,
  1, 1, 1, 1,
], 16);

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
  // In this order of arguments, a NaN is kept.
  x = f32x4.pmin(f32x4.pmax(x, constant(0)), constant(1));

  const shifted = f32x4.add(f32x4.mul(x, constant(2)), constant(3));
  const n = f32x4.sub(shifted, constant(3));
  let r = f32x4.sub(x, f32x4.mul(n, constant(4)));
  r = f32x4.sub(r, f32x4.mul(n, constant(5)));

  let p = constant(6);
  p = f32x4.add(f32x4.mul(p, r), constant(7));
  p = f32x4.add(f32x4.mul(p, r), constant(8));
  p = f32x4.add(f32x4.mul(p, r), constant(9));
  p = f32x4.add(f32x4.mul(p, r), constant(10));
  p = f32x4.add(f32x4.mul(p, r), constant(11));
  p = f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r);
  p = f32x4.add(p, constant(12));

  // 2^n in two factors, since n reaches from −150 to 128. Both get the bits of 1.0, exponent 127.
  const exponent = i32x4.sub(shifted, constant(3));
  const half = i32x4.shr_s(exponent, 1);
  p = f32x4.mul(p, powerOfTwo(half));
  return f32x4.mul(p, powerOfTwo(i32x4.sub(exponent, half)));
}

// @ts-ignore: decorator
@inline
function constant(index: usize): v128 {
  return v128.load(CONSTANTS + 16 * index);
}

/** 2^n for lanes of n in −126 … 127. */
// @ts-ignore: decorator
@inline
function powerOfTwo(n: v128): v128 {
  return i32x4.add(i32x4.shl(n, 23), constant(12));
}

/**
 * Constants of `expNegative4`, in the order of its arguments. Loaded before a loop, since V8 merges vectors
 * (docs/kernels.md) that use the same value, not the same address.
 */
const NEGATIVE = memory.data<f32>([
  -87.3, -87.3, -87.3, -87.3,
  1.44269504088896341, 1.44269504088896341, 1.44269504088896341, 1.44269504088896341,
  12582912, 12582912, 12582912, 12582912,
  -0.693359375, -0.693359375, -0.693359375, -0.693359375,
  2.12194440e-4, 2.12194440e-4, 2.12194440e-4, 2.12194440e-4,
  1.9875691500e-4, 1.9875691500e-4, 1.9875691500e-4, 1.9875691500e-4,
  1.3981999507e-3, 1.3981999507e-3, 1.3981999507e-3, 1.3981999507e-3,
  8.3334519073e-3, 8.3334519073e-3, 8.3334519073e-3, 8.3334519073e-3,
  4.1665795894e-2, 4.1665795894e-2, 4.1665795894e-2, 4.1665795894e-2,
  1.6666665459e-1, 1.6666665459e-1, 1.6666665459e-1, 1.6666665459e-1,
  5.0000001201e-1, 5.0000001201e-1, 5.0000001201e-1, 5.0000001201e-1,
  1, 1, 1, 1,
], 16);

/** Constant `index` of `expNegative4`. */
// @ts-ignore: decorator
@inline
export function negativeConstant(index: usize): v128 {
  return v128.load(NEGATIVE + 16 * index);
}

/**
 * e^x of lanes that are at most 0 (up to a rounding error), with half as many instructions as `exp4`: it uses
 * multiply-adds, which a machine may fuse, and one factor of 2^n. 0 below −87.3; NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function expNegative4(
  x: v128, least: v128, perLn2: v128, round: v128, ln2High: v128, ln2Low: v128,
  p6: v128, p5: v128, p4: v128, p3: v128, p2: v128, p1: v128, one: v128,
): v128 {
  const bounded = f32x4.pmax(x, least);
  const shifted = f32x4.relaxed_madd(bounded, perLn2, round);
  const n = f32x4.sub(shifted, round);
  const r = f32x4.relaxed_madd(n, ln2Low, f32x4.relaxed_madd(n, ln2High, bounded));
  let p = f32x4.relaxed_madd(p6, r, p5);
  p = f32x4.relaxed_madd(p, r, p4);
  p = f32x4.relaxed_madd(p, r, p3);
  p = f32x4.relaxed_madd(p, r, p2);
  p = f32x4.relaxed_madd(p, r, p1);
  p = f32x4.relaxed_madd(p, r, one);
  p = f32x4.relaxed_madd(p, r, one);
  // The low bits of `shifted` are n.
  const power = i32x4.add(i32x4.shl(shifted, 23), one);
  return v128.andnot(f32x4.mul(p, power), f32x4.lt(x, least));
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
