/**
 * Panel layout of the MXFP4 GEMM: groups of 64 k, two blocks, which share a scale where possible.
 *
 *   header     64 bytes: i32 [4] lowest and i32 [4] highest scale byte, by lane, of non-zero blocks
 *   a          strips of 4 rows; in a strip the groups follow each other, 320 bytes each:
 *                256  16 units: 4 rows × 4 k of signed integers
 *                 32  i16 [2, 4, 2]: for each block −24 · Σ of bytes 0 and 1, and of 2 and 3, of the
 *                     row's units: the initial values of the dot product's i16 lanes
 *                 32  i32 [2, 4]: scale byte << 23, for each block
 *   b          pairs of strips, 8 rows (columns of the product), 576 bytes a group:
 *                512  16 × (unit of rows 0 … 3, unit of rows 4 … 7), integers + 24, 0 … 48
 *                 64  i32 [2, 8]: (scale byte − 129) << 23, for each block
 *
 * An integer is 2 · E2M1, at most 12. If the scales of the two blocks differ by at most one in every row of the
 * strip, the integers of the block with the larger scale are doubled and both blocks take the smaller scale: the same
 * values, and the GEMM sums the group before it applies a scale. Otherwise the last bit of the strip's scale words is
 * set, and the GEMM computes the blocks separately. A block of zeros takes its neighbour's scale. If k ends within a
 * group, the rest is filled with zeros.
 *
 * A unit is one v128: row r's four integers are the bytes of 32-bit lane r, in k order 0, 2, 1, 3 (for both operands,
 * so dot products are unchanged). For results that do not depend on the machine, the second operand of the relaxed
 * dot product must not be negative; hence + 24, and the initial values −24 · Σa that cancel it. Adding the two scale
 * words gives the bits of 2^(scale a + scale b − 254) / 4; the 4 undoes the doubling of both elements.
 */

// @ts-ignore: decorator
@inline export const PANEL_HEADER_BYTES: usize = 64;
/** k of a group: two blocks, one rotated segment. */
// @ts-ignore: decorator
@inline export const GROUP: i32 = 64;
/** Rows of a strip. */
// @ts-ignore: decorator
@inline export const STRIP_ROWS: i32 = 4;
// @ts-ignore: decorator
@inline export const UNIT_BYTES: usize = 16;
/** Units of one strip in a block of 32 k. */
// @ts-ignore: decorator
@inline export const BLOCK_UNITS: i32 = 8;
// @ts-ignore: decorator
@inline export const A_GROUP_BYTES: usize = 320;
// @ts-ignore: decorator
@inline export const A_STARTS: usize = 256;
// @ts-ignore: decorator
@inline export const A_SCALES: usize = 288;
// @ts-ignore: decorator
@inline export const B_GROUP_BYTES: usize = 576;
// @ts-ignore: decorator
@inline export const B_SCALES: usize = 512;
/** Bit of a scale word: the blocks of this strip's group have separate scales. */
// @ts-ignore: decorator
@inline export const SPLIT: i32 = 1;
/** Offset that makes b's integers non-negative. */
// @ts-ignore: decorator
@inline export const B_OFFSET: i32 = 24;
/** 127 + 2: a's scale byte keeps its bias, and both doublings divide by 4. */
// @ts-ignore: decorator
@inline export const B_SCALE_BIAS: i32 = 129;

/** Offset of a strip in its column of groups; the second strip of a pair of b is 16 bytes after the first. */
// @ts-ignore: decorator
@inline
export function placeOf(row: i32, side: i32, lineBytes: usize): usize {
  if (side == 0) return <usize>(row >> 2) * lineBytes;
  return <usize>(row >> 3) * lineBytes + (<usize>(row & 4) << 2);
}
