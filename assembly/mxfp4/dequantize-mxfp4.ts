import { BLOCK_F32_BYTES, BLOCK_SIZE } from "../mx/block";
import { scaleValue } from "../mx/e8m0";
import { BLOCK_BYTES } from "./constants";
import { bf16HighBytes, bf16LowBytes, evenCodes, oddCodes } from "./e2m1";

/**
 * f32 values of MXFP4.
 *
 *   out = (E2M1 value · 2^(scale − 127)) · factor        scale 255 gives NaN; −0 stays −0
 *
 * Shapes:   out f32 [length], 16-byte aligned; elements u8 [length / 2]; scales u8 [length / 32]
 * Requires: length % 32 == 0; factor 1, or 4/3 for one tensor of Algorithm 2
 * Source:   OCP MX v1.0 §5.3.3 and §5.4.1
 */
export function dequantizeMxfp4(
  out: usize, elements: usize, scales: usize, length: i32, factor: f32,
): void {
  assert(length % BLOCK_SIZE == 0, "length must be a multiple of 32");
  assert((out & 15) == 0, "out must be 16-byte aligned");

  const end = out + (<usize>length << 2);
  for (; out < end; out += BLOCK_F32_BYTES, elements += BLOCK_BYTES, scales++) {
    const scale: i32 = load<u8>(scales);
    const packed = v128.load(elements);
    const even = evenCodes(packed);
    const odd = oddCodes(packed);
    const first = i8x16.shuffle(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const second = i8x16.shuffle(
      even, odd, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31,
    );
    // 2^−127 is subnormal: multiplied by `factor` before the element, it would round.
    const by = scale == 0 ? scaleValue(0) : scaleValue(scale) * factor;
    dequantize16(out, first, f32x4.splat(by));
    dequantize16(out + 64, second, f32x4.splat(by));
    if (scale == 0) multiplyBlock(out, factor);
  }
}

function multiplyBlock(x: usize, factor: f32): void {
  for (const end = x + BLOCK_F32_BYTES; x < end; x += 16) {
    v128.store(x, f32x4.mul(v128.load(x), f32x4.splat(factor)));
  }
}

/** 16 codes (i8 lanes) to f32 at `out`: their bf16 bits are the upper half of the f32 bits. */
// @ts-ignore: decorator
@inline
function dequantize16(out: usize, codes: v128, scale: v128): void {
  const low = bf16LowBytes(codes);
  const high = bf16HighBytes(codes);
  const zero = i32x4.splat(0);
  const first = i8x16.shuffle(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const second = i8x16.shuffle(
    low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31,
  );
  v128.store(out, f32x4.mul(i16x8.shuffle(zero, first, 0, 8, 1, 9, 2, 10, 3, 11), scale));
  v128.store(out, f32x4.mul(i16x8.shuffle(zero, first, 4, 12, 5, 13, 6, 14, 7, 15), scale), 16);
  v128.store(out, f32x4.mul(i16x8.shuffle(zero, second, 0, 8, 1, 9, 2, 10, 3, 11), scale), 32);
  v128.store(out, f32x4.mul(i16x8.shuffle(zero, second, 4, 12, 5, 13, 6, 14, 7, 15), scale), 48);
}
