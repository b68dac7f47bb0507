/**
 * The layout in which MXFP4 operands enter the GEMM: groups of 64 k, two blocks that share a scale
 * wherever they can.
 *
 *   header     64 bytes: i32 [4] lowest and i32 [4] highest scale byte, by lane, of non-zero blocks
 *   a          strips of 4 rows; in a strip the groups follow each other, 320 bytes each:
 *                256  16 units: 4 rows × 4 k of signed integers
 *                 32  i16 [2, 4, 2]: for each block −24 · Σ of bytes 0 and 1, and of 2 and 3, of the
 *                     row's units: where the i16 lanes of the dot start
 *                 32  i32 [2, 4]: scale byte << 23, for each block
 *   b          pairs of strips, 8 rows (columns of the product), 576 bytes a group:
 *                512  16 × (unit of rows 0 … 3, unit of rows 4 … 7), integers + 24, 0 … 48
 *                 64  i32 [2, 8]: (scale byte − 129) << 23, for each block
 *
 * An integer is 2 · E2M1, at most 12. Where the scales of a row's two blocks differ by one, for no row
 * of the strip by more, the integers of the larger are doubled and both blocks take the smaller scale:
 * the same values, and the GEMM adds the group up before it touches a scale. Else the last bit of the
 * strip's scale words is set, and the GEMM takes the blocks apart. A block of zeros
 * takes its neighbour's scale. k that ends in half a group is filled with zeros.
 *
 * A unit is one v128: row r's four integers are the bytes of 32-bit lane r, in the k order 0, 2, 1, 3
 * (the same for both operands, so their dot product does not see it). The second operand of the
 * relaxed dot must not be negative for results that do not depend on the machine; hence + 24, and
 * −24 · Σa to take it out again. Adding the two scale words gives the bits of
 * 2^(scale a + scale b − 254) / 4, the 4 undoing the doubling of both elements.
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
/** In a scale word: the blocks of this strip's group have scales of their own. */
// @ts-ignore: decorator
@inline export const SPLIT: i32 = 1;
/** What makes b's integers non-negative. */
// @ts-ignore: decorator
@inline export const B_OFFSET: i32 = 24;
/** 127 + 2: a's scale byte keeps its bias, and both doublings divide by 4. */
// @ts-ignore: decorator
@inline export const B_SCALE_BIAS: i32 = 129;

/** Where a strip begins in its column of groups; of b's pairs the second strip stands 16 bytes behind the first. */
// @ts-ignore: decorator
@inline
export function placeOf(row: i32, side: i32, lineBytes: usize): usize {
  if (side == 0) return <usize>(row >> 2) * lineBytes;
  return <usize>(row >> 3) * lineBytes + (<usize>(row & 4) << 2);
}
