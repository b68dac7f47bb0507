/**
 * Central moments of the finite values of `x`, about their own mean, in f64 and in order.
 *
 *   out = [count, mean, Σ(x − mean)², Σ(x − mean)³, Σ(x − mean)⁴]
 *
 * Shapes:   out f64 [5]; x f32 [length]
 */
export function centralMomentsF32(out: usize, x: usize, length: i32): void {
  const end = x + (<usize>length << 2);
  let count: f64 = 0;
  let sum: f64 = 0;
  for (let at = x; at < end; at += 4) {
    const value = load<f32>(at);
    if (!isFinite(value)) continue;
    count += 1;
    sum += <f64>value;
  }
  const mean = count > 0 ? sum / count : 0;
  let second: f64 = 0;
  let third: f64 = 0;
  let fourth: f64 = 0;
  for (let at = x; at < end; at += 4) {
    const value = load<f32>(at);
    if (!isFinite(value)) continue;
    const d = <f64>value - mean;
    const squared = d * d;
    second += squared;
    third += squared * d;
    fourth += squared * squared;
  }
  store<f64>(out, count);
  store<f64>(out, mean, 8);
  store<f64>(out, second, 16);
  store<f64>(out, third, 24);
  store<f64>(out, fourth, 32);
}

/**
 * Adds error sums of `y` against `x` to `out`. Pairs that are not both finite are counted, not summed.
 *
 *   out += [Σ x², Σ (x − y)², Σ x·y, Σ y², pairs left out];  out[5] = max(out[5], |x − y|)
 *
 * Shapes:   out f64 [6]; x, y f32 [length]
 */
export function compareF32(out: usize, x: usize, y: usize, length: i32): void {
  const end = x + (<usize>length << 2);
  let xx: f64 = 0;
  let dd: f64 = 0;
  let xy: f64 = 0;
  let yy: f64 = 0;
  let skipped: f64 = 0;
  let most = load<f64>(out, 40);
  for (; x < end; x += 4, y += 4) {
    const a = load<f32>(x);
    const b = load<f32>(y);
    if (!isFinite(a) || !isFinite(b)) {
      skipped += 1;
      continue;
    }
    const d = <f64>a - <f64>b;
    xx += <f64>a * <f64>a;
    dd += d * d;
    xy += <f64>a * <f64>b;
    yy += <f64>b * <f64>b;
    most = max(most, abs(d));
  }
  store<f64>(out, load<f64>(out) + xx);
  store<f64>(out, load<f64>(out, 8) + dd, 8);
  store<f64>(out, load<f64>(out, 16) + xy, 16);
  store<f64>(out, load<f64>(out, 24) + yy, 24);
  store<f64>(out, load<f64>(out, 32) + skipped, 32);
  store<f64>(out, most, 40);
}
