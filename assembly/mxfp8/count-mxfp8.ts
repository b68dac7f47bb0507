import { BLOCK_SIZE, E8M0_NAN } from "../mx/block";
import { inverseScale } from "../mx/e8m0";
import { largest } from "./float8";

/**
 * Adds counts of elements by what quantization did to them to `out`.
 *
 *   out += [elements over max · 2^(scale − 127), max 448 of E4M3 or 57344 of E5M2,
 *           elements that were not zero and have code 0 (of either sign),
 *           elements in blocks of scale 255]
 *
 * Shapes:   out f64 [3]; x f32 [length]; elements u8 [length]; scales u8 [length / 32]
 * Requires: element 0 (E4M3) or 1 (E5M2)
 */
export function countMxfp8(
  out: usize, x: usize, elements: usize, scales: usize, length: i32, element: i32,
): void {
  const most = largest(element);
  let clipped = 0;
  let zeroed = 0;
  let lost = 0;
  for (let block = 0; block < length; block += BLOCK_SIZE, scales++) {
    const scale = <i32>load<u8>(scales);
    if (scale == E8M0_NAN) {
      lost += BLOCK_SIZE;
      x += BLOCK_SIZE << 2;
      elements += BLOCK_SIZE;
      continue;
    }
    const inverse = inverseScale(scale);
    for (let i = 0; i < BLOCK_SIZE; i++, x += 4, elements++) {
      const a = abs(load<f32>(x));
      clipped += <i32>(a * inverse > most);
      zeroed += <i32>((load<u8>(elements) & 0x7f) == 0 && a > 0);
    }
  }
  store<f64>(out, load<f64>(out) + <f64>clipped);
  store<f64>(out, load<f64>(out, 8) + <f64>zeroed, 8);
  store<f64>(out, load<f64>(out, 16) + <f64>lost, 16);
}
