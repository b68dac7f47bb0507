/** out = a + b. f32 [length] each; `out` may be `a` or `b`. */
export function addF32(out: usize, a: usize, b: usize, length: i32): void {
  const end = out + (<usize>length << 2);
  const vectorEnd = out + (<usize>(length & ~3) << 2);
  for (; out < vectorEnd; out += 16, a += 16, b += 16) {
    v128.store(out, f32x4.add(v128.load(a), v128.load(b)));
  }
  for (; out < end; out += 4, a += 4, b += 4) store<f32>(out, load<f32>(a) + load<f32>(b));
}

/** x *= factor, in place. f32 [length]. */
export function scaleF32(x: usize, length: i32, factor: f32): void {
  const end = x + (<usize>length << 2);
  const vectorEnd = x + (<usize>(length & ~3) << 2);
  const factors = f32x4.splat(factor);
  for (; x < vectorEnd; x += 16) v128.store(x, f32x4.mul(v128.load(x), factors));
  for (; x < end; x += 4) store<f32>(x, load<f32>(x) * factor);
}

/**
 * Σ x² in f64. Always in the same order: four partial sums (elements 4j, 4j+1, 4j+2, 4j+3), added as
 * (0 + 2) + (1 + 3), then the last length % 4 elements one by one.
 */
export function sumSquaresF32(x: usize, length: i32): f64 {
  const end = x + (<usize>length << 2);
  const vectorEnd = x + (<usize>(length & ~3) << 2);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (; x < vectorEnd; x += 16) {
    const values = v128.load(x);
    const a = f64x2.promote_low_f32x4(values);
    const b = f64x2.promote_low_f32x4(i64x2.shuffle(values, values, 1, 1));
    low = f64x2.add(low, f64x2.mul(a, a));
    high = f64x2.add(high, f64x2.mul(b, b));
  }
  low = f64x2.add(low, high);
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; x < end; x += 4) {
    const value = <f64>load<f32>(x);
    sum += value * value;
  }
  return sum;
}

/**
 * Every NaN becomes the one with bits 0x7fc00000, in place: WebAssembly leaves a NaN's sign and
 * payload to the machine, and bytes must not depend on it. f32 [length].
 */
export function canonicalizeNaNF32(x: usize, length: i32): void {
  const end = x + (<usize>length << 2);
  for (; x < end; x += 4) {
    const value = load<f32>(x);
    if (value != value) store<u32>(x, 0x7fc00000);
  }
}
