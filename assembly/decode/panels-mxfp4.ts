/**
 * Products with MXFP4 weights, not dequantized: a table look-up turns codes into integers (twice their values), which
 * are multiplied with activations quantized to 16-bit integers, with an f32 scale per block of 32.
 *
 * A panel has eight rows of a matrix; each block takes 136 bytes:
 *
 *   8 × 16 bytes   vector v has k = 4v … 4v + 3; byte 2r + e the codes of row r at k = 4v + e (low nibble) and
 *                  4v + 2 + e (high nibble)
 *   8 bytes        E8M0 scales of the rows
 *
 * So a vector widened to 16 bits has two neighbouring k of one row in each i32 lane, and a dot product with a pair of
 * activations leaves each row's sum in its own lane. The sum of a block is exact: at most 32 · 12 · 32767 < 2^24.
 */
import { BLOCK_SIZE } from "../mx/block";
import { evenCodes, lookUp, oddCodes } from "../mxfp4/e2m1";
import { storeUpTo8 } from "./rows";
import { PANEL_ROWS } from "./panels-f32";

// @ts-ignore: decorator
@inline const BLOCK_BYTES: usize = 136;
// @ts-ignore: decorator
@inline const SCALES: usize = 128;

/** Twice the value of each code. */
// @ts-ignore: decorator
@inline const DOUBLED: usize = memory.data<i8>([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], 16);

/**
 * out[t, r] = Σ w[r, k] · x[t, k]: blocks in order of k, each the product of its exact integer sum and two scales.
 *
 * Shapes:   out f32 [tokens, rows], `outStride` apart; panels u8 [rows / 8, columns / 32, 136];
 *           x i16 [tokens, columns] and scales f32 [tokens, columns / 32], from `quantizeRowsI16`
 * Special:  a weight scale of 0 counts as 0, of 255 as infinity
 * Requires: columns % 32 == 0
 */
export function multiplyPanelsMxfp4(
  out: usize, outStride: i32, panels: usize, x: usize, scales: usize, rows: i32, columns: i32, tokens: i32,
): void {
  assert(rows >= 1 && columns >= 1 && tokens >= 1, "sizes must be positive");
  assert(columns % BLOCK_SIZE == 0, "columns must be a multiple of 32");

  const blocks = columns / BLOCK_SIZE;
  const panelBytes = <usize>blocks * BLOCK_BYTES;
  for (let row = 0; row < rows; row += PANEL_ROWS, panels += panelBytes) {
    let to = out + (<usize>row << 2);
    let at = x;
    let scale = scales;
    for (let token = 0; token < tokens; token++, to += <usize>outStride << 2) {
      let low = f32x4.splat(0);
      let high = low;
      const end = panels + panelBytes;
      for (let block = panels; block < end; block += BLOCK_BYTES, at += 64, scale += 4) {
        let sums0 = i32x4.splat(0);
        let sums1 = sums0;
        let sums2 = sums0;
        let sums3 = sums0;
        for (let v: usize = 0; v < 8; v++) {
          const packed = v128.load(block + (v << 4));
          const first = lookUp(DOUBLED, evenCodes(packed));
          const second = lookUp(DOUBLED, oddCodes(packed));
          const x0 = v128.load32_splat(at + (v << 3));
          const x1 = v128.load32_splat(at + (v << 3), 4);
          sums0 = i32x4.add(sums0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(first), x0));
          sums1 = i32x4.add(sums1, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(first), x0));
          sums2 = i32x4.add(sums2, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(second), x1));
          sums3 = i32x4.add(sums3, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(second), x1));
        }
        const scale4 = v128.load32_splat(scale);
        const bytes = v128.load8x8_u(block + SCALES);
        const low4 = f32x4.convert_i32x4_s(i32x4.add(sums0, sums2));
        const high4 = f32x4.convert_i32x4_s(i32x4.add(sums1, sums3));
        low = f32x4.add(low, f32x4.mul(f32x4.mul(low4, scale4), powers(i32x4.extend_low_i16x8_u(bytes))));
        high = f32x4.add(high, f32x4.mul(f32x4.mul(high4, scale4), powers(i32x4.extend_high_i16x8_u(bytes))));
      }
      storeUpTo8(to, low, high, rows - row);
    }
  }
}

/** E8M0 bytes (i32 lanes) as f32: they become the exponent bits. */
// @ts-ignore: decorator
@inline
function powers(bytes: v128): v128 {
  return i32x4.shl(bytes, 23);
}

/**
 * Quantizes rows of f32 to 16-bit integers, nearest-even, with one scale per 32. The scale includes the factor 1/2
 * for the doubled weights.
 *
 *   scale = largest / 32767 / 2;  out = round(x · 32767 / largest)       a block below 2^−100 becomes 0
 *
 * Shapes:   out i16 [length]; scales f32 [length / 32]; x f32 [length], 16-byte aligned
 * Special:  NaN or an infinity makes its block's scale NaN
 */
export function quantizeRowsI16(out: usize, scales: usize, x: usize, length: i32): void {
  assert(length % BLOCK_SIZE == 0, "length must be a multiple of 32");

  const end = x + (<usize>length << 2);
  for (; x < end; x += 128, out += 64, scales += 4) {
    let top = f32x4.abs(v128.load(x));
    for (let at: usize = 16; at < 128; at += 16) top = f32x4.max(top, f32x4.abs(v128.load(x + at)));
    const largest = max<f32>(
      max<f32>(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1)),
      max<f32>(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3)),
    );
    if (largest < 7.888609e-31) {
      memory.fill(out, 0, 64);
      store<f32>(scales, 0);
      continue;
    }
    const isFinite = largest <= f32.MAX_VALUE;
    store<f32>(scales, isFinite ? largest / 65534 : NaN);
    const inverse = f32x4.splat(32767 / largest);
    for (let at: usize = 0; at < 128; at += 32) {
      const low = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x + at), inverse)));
      const high = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x + at, 16), inverse)));
      v128.store(out + (at >> 1), i16x8.narrow_i32x4_s(low, high));
    }
  }
}

/**
 * Packs blocks of up to eight rows into a panel, beginning at its block `firstBlock`.
 *
 * Shapes:   panel as above; codes u8 [rows, blocks, 16] and scales u8 [rows, blocks], rows `codeStride` and
 *           `scaleStride` bytes apart, even index in the low nibble
 */
export function packPanelMxfp4(
  panel: usize, firstBlock: i32, codes: usize, scales: usize, rows: i32, blocks: i32, codeStride: i32, scaleStride: i32,
): void {
  assert(rows >= 1 && rows <= PANEL_ROWS, "a panel has 1 to 8 rows");

  let to = panel + <usize>firstBlock * BLOCK_BYTES;
  for (let block = 0; block < blocks; block++, to += BLOCK_BYTES) {
    if (rows < PANEL_ROWS) memory.fill(to, 0, BLOCK_BYTES);
    for (let row = 0; row < rows; row++) {
      const from = codes + <usize>row * <usize>codeStride + (<usize>block << 4);
      for (let v: usize = 0; v < 8; v++) {
        const first: u32 = load<u8>(from + (v << 1));
        const second: u32 = load<u8>(from + (v << 1), 1);
        const at = to + (v << 4) + (<usize>row << 1);
        store<u8>(at, (first & 15) | (second << 4));
        store<u8>(at, (first >> 4) | (second & 0xf0), 1);
      }
      store<u8>(to + SCALES + <usize>row, load<u8>(scales + <usize>row * <usize>scaleStride + <usize>block));
    }
  }
}

/** Dequantizes row `lane` of a panel. out f32 [columns]. */
export function panelRowMxfp4(out: usize, panel: usize, lane: i32, columns: i32): void {
  assert(lane >= 0 && lane < PANEL_ROWS, "a panel has 8 rows");
  assert(columns % BLOCK_SIZE == 0, "columns must be a multiple of 32");

  const end = out + (<usize>columns << 2);
  for (let block = panel; out < end; block += BLOCK_BYTES) {
    const half: f32 = 0.5 * reinterpret<f32>(<u32>load<u8>(block + SCALES + <usize>lane) << 23);
    for (let v: usize = 0; v < 8; v++, out += 16) {
      const at = block + (v << 4) + (<usize>lane << 1);
      const first: u32 = load<u8>(at);
      const second: u32 = load<u8>(at, 1);
      store<f32>(out, half * <f32>load<i8>(DOUBLED + (first & 15)));
      store<f32>(out, half * <f32>load<i8>(DOUBLED + (second & 15)), 4);
      store<f32>(out, half * <f32>load<i8>(DOUBLED + (first >> 4)), 8);
      store<f32>(out, half * <f32>load<i8>(DOUBLED + (second >> 4)), 12);
    }
  }
}
