import { BLOCK_BYTES } from "./constants";
import { evenCodes, oddCodes, packNibbles } from "./e2m1";

/** Bytes of one ggml block: the scale, then 16 bytes of elements. */
// @ts-ignore: decorator
@inline const GGML_BYTES: i32 = 17;
// @ts-ignore: decorator
@inline const LOW_NIBBLES: usize = memory.data<u32>([0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f], 16);

/**
 * ggml's blocks {scale, qs[16]} of MXFP4: byte j of qs has element j in the low nibble and element
 * j + 16 in the high one.
 *
 * Shapes:   out u8 [17 · blocks]; elements u8 [16 · blocks]; scales u8 [blocks]
 * Source:   ggml's block_mxfp4
 */
export function packGgmlMxfp4(out: usize, elements: usize, scales: usize, blocks: i32): void {
  for (let i = 0; i < blocks; i++, out += GGML_BYTES, elements += BLOCK_BYTES, scales++) {
    const packed = v128.load(elements);
    const even = evenCodes(packed);
    const odd = oddCodes(packed);
    const first = i8x16.shuffle(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const second = i8x16.shuffle(
      even, odd, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31,
    );
    store<u8>(out, load<u8>(scales));
    v128.store(out, v128.or(first, i16x8.shl(second, 4)), 1); // codes stay below 16: no carry
  }
}

/** The inverse. Shapes as for `packGgmlMxfp4`. */
export function unpackGgmlMxfp4(elements: usize, scales: usize, packed: usize, blocks: i32): void {
  const lowNibbles = v128.load(LOW_NIBBLES);
  for (let i = 0; i < blocks; i++, packed += GGML_BYTES, elements += BLOCK_BYTES, scales++) {
    store<u8>(scales, load<u8>(packed));
    const qs = v128.load(packed, 1);
    v128.store(
      elements,
      packNibbles(v128.and(qs, lowNibbles), v128.and(i16x8.shr_u(qs, 4), lowNibbles)),
    );
  }
}
