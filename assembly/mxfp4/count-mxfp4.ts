import { BLOCK_SIZE, E8M0_NAN } from "../mx/block";
import { inverseScale } from "../mx/e8m0";

/**
 * Adds counts of elements by what quantization did to them to `out`.
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
