/** Sums for error figures, in f64 and in order. Called inside `arena.scope`. */
import type { Pointer } from "./arena.ts";
import { kernels } from "./runtime.ts";

/** Central moments of the finite values. */
export type Moments = {
  count: number;
  mean: number;
  second: number;
  third: number;
  fourth: number;
};

/** Sums over pairs of finite values; `skipped` counts the other pairs. */
export type Differences = {
  signal: number;
  noise: number;
  product: number;
  power: number;
  skipped: number;
  most: number;
};

/** Counts of elements that were clipped, became zero, or are in blocks of scale 255 (`lost`). */
export type Counts = { clipped: number; zeroed: number; lost: number };

/** x f32 [length] */
export function moments(x: Pointer, length: number): Moments {
  const { arena, exports } = kernels();
  const out = arena.alloc(5 * 8);
  exports.centralMomentsF32(out, x, length);
  const [count, mean, second, third, fourth] = arena.f64(out, 5);
  return { count, mean, second, third, fourth } as Moments;
}

/** The moments of the union of two sets (Pébay 2008, eqs. 2.1 and 3.1). */
export function mergeMoments(a: Moments, b: Moments): Moments {
  if (a.count === 0) return b;
  if (b.count === 0) return a;
  const count = a.count + b.count;
  const d = b.mean - a.mean;
  const [p, q] = [a.count / count, b.count / count];
  const second = a.second + b.second + d * d * a.count * q;
  const third =
    a.third +
    b.third +
    d * d * d * a.count * q * (p - q) +
    3 * d * (p * b.second - q * a.second);
  const fourth =
    a.fourth +
    b.fourth +
    d * d * d * d * a.count * q * (p * p - p * q + q * q) +
    6 * d * d * (p * p * b.second + q * q * a.second) +
    4 * d * (p * b.third - q * a.third);
  return { count, mean: a.mean + d * q, second, third, fourth };
}

/** The bits of the largest |x|: those of infinities and NaNs are above all finite ones. x f32 [length] */
export function largestBits(x: Pointer, length: number): number {
  return kernels().exports.largestBitsF32(x, length);
}

/** bytes u8 [length] */
export function largestByte(bytes: Pointer, length: number): number {
  return kernels().exports.largestByte(bytes, length);
}

/** Error sums of y against x. f32 [length] each. */
export function compare(x: Pointer, y: Pointer, length: number): Differences {
  const { arena, exports } = kernels();
  const out = arena.alloc(6 * 8);
  arena.f64(out, 6).fill(0);
  exports.compareF32(out, x, y, length);
  const [signal, noise, product, power, skipped, most] = arena.f64(out, 6);
  return { signal, noise, product, power, skipped, most } as Differences;
}

/** Runs a kernel that adds to three counts. */
export function countsOf(count: (out: Pointer) => void): Counts {
  const { arena } = kernels();
  const out = arena.alloc(3 * 8);
  arena.f64(out, 3).fill(0);
  count(out);
  const [clipped, zeroed, lost] = arena.f64(out, 3);
  return { clipped, zeroed, lost } as Counts;
}
