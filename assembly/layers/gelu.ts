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
import { expNegative4, negativeConstant } from "../simd/exp";
import { loadUpTo4, storeUpTo4 } from "../simd/lanes";

/** Constants, four lanes each, loaded before the loops (docs/kernels.md). */
const CONSTANTS = memory.data<f32>([
  1.5957691216057308, 1.5957691216057308, 1.5957691216057308, 1.5957691216057308, // 2·√(2/π)
  0.07135481627, 0.07135481627, 0.07135481627, 0.07135481627, // 0.044715 times that
  0.21406444881, 0.21406444881, 0.21406444881, 0.21406444881, // three times that
  -0.0, -0.0, -0.0, -0.0,
  -16, -16, -16, -16,
  16, 16, 16, 16,
], 16);

// @ts-ignore: decorator
@inline
function constant(index: usize): v128 {
  return v128.load(CONSTANTS + 16 * index);
}

/** out = gelu(x). f32 [length] each; `out` may be `x`. */
export function geluForwardF32(out: usize, x: usize, length: i32): void {
  assert(length >= 0, "length must not be negative");

  const least = negativeConstant(0);
  const perLn2 = negativeConstant(1);
  const round = negativeConstant(2);
  const ln2High = negativeConstant(3);
  const ln2Low = negativeConstant(4);
  const p6 = negativeConstant(5);
  const p5 = negativeConstant(6);
  const p4 = negativeConstant(7);
  const p3 = negativeConstant(8);
  const p2 = negativeConstant(9);
  const p1 = negativeConstant(10);
  const one = negativeConstant(11);
  const linear = constant(0);
  const cubic = constant(1);
  const minus = constant(3);
  const end = x + (<usize>(length & ~7) << 2);
  for (; x < end; x += 32, out += 32) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    const gelu0 = gelu4(
      x0, linear, cubic, minus, least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
    );
    const gelu1 = gelu4(
      x1, linear, cubic, minus, least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
    );
    v128.store(out, gelu0);
    v128.store(out, gelu1, 16);
  }
  for (let rest = length & 7; rest > 0; rest -= 4, x += 16, out += 16) {
    const count = min(rest, 4);
    const last = gelu4(
      loadUpTo4(x, count), linear, cubic, minus, least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
    );
    storeUpTo4(out, last, count);
  }
}

/** dX = dOut · gelu′(x). f32 [length] each; `dX` may be `dOut`. */
export function geluBackwardF32(dX: usize, dOut: usize, x: usize, length: i32): void {
  assert(length >= 0, "length must not be negative");

  const least = negativeConstant(0);
  const perLn2 = negativeConstant(1);
  const round = negativeConstant(2);
  const ln2High = negativeConstant(3);
  const ln2Low = negativeConstant(4);
  const p6 = negativeConstant(5);
  const p5 = negativeConstant(6);
  const p4 = negativeConstant(7);
  const p3 = negativeConstant(8);
  const p2 = negativeConstant(9);
  const p1 = negativeConstant(10);
  const one = negativeConstant(11);
  const linear = constant(0);
  const cubic = constant(1);
  const cubicSlope = constant(2);
  const minus = constant(3);
  const lowest = constant(4);
  const highest = constant(5);
  const end = x + (<usize>(length & ~7) << 2);
  for (; x < end; x += 32, dOut += 32, dX += 32) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    const dOut0 = v128.load(dOut);
    const dOut1 = v128.load(dOut, 16);
    const slope0 = geluSlope4(
      x0, linear, cubic, cubicSlope, minus, lowest, highest,
      least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
    );
    const slope1 = geluSlope4(
      x1, linear, cubic, cubicSlope, minus, lowest, highest,
      least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
    );
    v128.store(dX, f32x4.mul(dOut0, slope0));
    v128.store(dX, f32x4.mul(dOut1, slope1), 16);
  }
  for (let rest = length & 7; rest > 0; rest -= 4, x += 16, dOut += 16, dX += 16) {
    const count = min(rest, 4);
    const slope = geluSlope4(
      loadUpTo4(x, count), linear, cubic, cubicSlope, minus, lowest, highest,
      least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
    );
    storeUpTo4(dX, f32x4.mul(loadUpTo4(dOut, count), slope), count);
  }
}

// @ts-ignore: decorator
@inline
function gelu4(
  x: v128, linear: v128, cubic: v128, minus: v128,
  least: v128, perLn2: v128, round: v128, ln2High: v128, ln2Low: v128,
  p6: v128, p5: v128, p4: v128, p3: v128, p2: v128, p1: v128, one: v128,
): v128 {
  const z = f32x4.mul(x, f32x4.relaxed_madd(f32x4.mul(x, x), cubic, linear));
  const e = expNegative4(
    v128.or(z, minus), least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
  );
  const larger = f32x4.div(one, f32x4.add(one, e)); // σ(|z|)
  const smaller = f32x4.mul(e, larger); // 1 − σ(|z|)
  return f32x4.mul(x, v128.bitselect(smaller, larger, i32x4.shr_s(z, 31)));
}

/** σ(z) + x · σ(z) · (1 − σ(z)) · z′. Beyond |x| = 16 the latter is 0 in f32; x there could overflow. */
// @ts-ignore: decorator
@inline
function geluSlope4(
  x: v128, linear: v128, cubic: v128, cubicSlope: v128, minus: v128, lowest: v128, highest: v128,
  least: v128, perLn2: v128, round: v128, ln2High: v128, ln2Low: v128,
  p6: v128, p5: v128, p4: v128, p3: v128, p2: v128, p1: v128, one: v128,
): v128 {
  // In this order of arguments, a NaN is kept.
  const c = f32x4.pmin(f32x4.pmax(x, lowest), highest);
  const square = f32x4.mul(c, c);
  const z = f32x4.mul(c, f32x4.relaxed_madd(square, cubic, linear));
  const e = expNegative4(
    v128.or(z, minus), least, perLn2, round, ln2High, ln2Low, p6, p5, p4, p3, p2, p1, one,
  );
  const larger = f32x4.div(one, f32x4.add(one, e));
  const smaller = f32x4.mul(e, larger);
  const sigmoid = v128.bitselect(smaller, larger, i32x4.shr_s(z, 31));
  const zSlope = f32x4.relaxed_madd(square, cubicSlope, linear);
  return f32x4.relaxed_madd(c, f32x4.mul(f32x4.mul(smaller, larger), zSlope), sigmoid);
}
