import { BLOCK_SIZE, E8M0_NAN } from "../mxfp4/constants";
import { inverseScale } from "../mxfp4/e8m0";

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
 * How far `y` is from `x`, added to `out`. Pairs that are not both finite are counted, not summed.
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

/**
 * What quantizing `x` did to single elements, added to `out`.
 *
 *   out += [elements over 6 · 2^(scale − 127) after the prescale,
 *           elements that were not zero and have code 0 (of either sign),
 *           elements in blocks of scale 255]
 *
 * Shapes:   out f64 [3]; x f32 [length]; elements u8 [length / 2]; scales u8 [length / 32]
 */
export function countMxfp4(
  out: usize, x: usize, elements: usize, scales: usize, length: i32, prescale: f32,
): void {
  let clipped = 0;
  let zeroed = 0;
  let lost = 0;
  for (let block = 0; block < length; block += BLOCK_SIZE, scales++) {
    const scale = <i32>load<u8>(scales);
    if (scale == E8M0_NAN) {
      lost += BLOCK_SIZE;
      x += BLOCK_SIZE << 2;
      elements += BLOCK_SIZE >> 1;
      continue;
    }
    const inverse = inverseScale(scale);
    for (let i = 0; i < BLOCK_SIZE; i += 2, x += 8, elements++) {
      const codes = <i32>load<u8>(elements);
      const a = abs(load<f32>(x));
      const b = abs(load<f32>(x, 4));
      clipped += <i32>(a * inverse * prescale > 6) + <i32>(b * inverse * prescale > 6);
      zeroed += <i32>((codes & 0x07) == 0 && a > 0) + <i32>((codes & 0x70) == 0 && b > 0);
    }
  }
  store<f64>(out, load<f64>(out) + <f64>clipped);
  store<f64>(out, load<f64>(out, 8) + <f64>zeroed, 8);
  store<f64>(out, load<f64>(out, 16) + <f64>lost, 16);
}
