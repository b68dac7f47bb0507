/**
 * The layout in which MXFP4 operands enter the GEMM.
 *
 *   header     64 bytes: i32 [4] lowest and i32 [4] highest scale byte, by lane, of non-zero blocks
 *   a          strips of 4 rows; in a strip the blocks of 32 k follow each other, 160 bytes each:
 *                128  8 units: 4 rows × 4 k of signed integers 2 · E2M1, |x| ≤ 12
 *                 16  i32 [4]: −12 · Σ of the row's 32 integers
 *                 16  i32 [4]: scale byte << 23
 *   b          pairs of strips, 8 rows (columns of the product), 288 bytes a block:
 *                256  8 × (unit of rows 0 … 3, unit of rows 4 … 7), integers + 12, 0 … 24
 *                 32  i32 [8]: (scale byte − 129) << 23
 *
 * A unit is one v128: row r's four integers are the bytes of 32-bit lane r, in the k order 0, 2, 1, 3
 * (the same for both operands, so their dot product does not see it). The second operand of the
 * relaxed dot must not be negative for results that do not depend on the machine; hence + 12, and
 * −12 · Σa to take it out again. Adding the two scale words gives the bits of
 * 2^(scale a + scale b − 254) / 4, the 4 undoing the doubling of both integers.
 */

// @ts-ignore: decorator
@inline export const PANEL_HEADER_BYTES: usize = 64;
/** Rows of a strip. */
// @ts-ignore: decorator
@inline export const STRIP_ROWS: i32 = 4;
// @ts-ignore: decorator
@inline export const UNIT_BYTES: usize = 16;
/** Units of one strip in a block of 32 k. */
// @ts-ignore: decorator
@inline export const BLOCK_UNITS: i32 = 8;
// @ts-ignore: decorator
@inline export const A_BLOCK_BYTES: usize = 160;
// @ts-ignore: decorator
@inline export const A_SUMS: usize = 128;
// @ts-ignore: decorator
@inline export const A_SCALES: usize = 144;
// @ts-ignore: decorator
@inline export const B_BLOCK_BYTES: usize = 288;
// @ts-ignore: decorator
@inline export const B_SCALES: usize = 256;
/** What makes b's integers non-negative. */
// @ts-ignore: decorator
@inline export const B_OFFSET: i32 = 12;
/** 127 + 2: a's scale byte keeps its bias, and both doublings divide by 4. */
// @ts-ignore: decorator
@inline export const B_SCALE_BIAS: i32 = 129;
