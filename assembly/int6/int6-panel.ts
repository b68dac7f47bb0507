/**
 * The layout in which 6-bit integers enter their GEMM: MXFP4's (mxfp4-panel.ts) with one scale a group
 * of 64 k, and without a header.
 *
 *   a          strips of 4 rows; in a strip the groups follow each other, 288 bytes each:
 *                256  16 units: 4 rows × 4 k of signed integers; unit 4c + j has k = 16c + j + {0, 8, 4, 12}
 *                 16  i16 [4, 2]: −31 · Σ of bytes 0 and 1, and of 2 and 3, of the row's units
 *                 16  f32 [4]: scales
 *   b          pairs of strips, 8 rows (columns of the product), 544 bytes a group:
 *                512  16 × (unit of rows 0 … 3, unit of rows 4 … 7), integers + 31, 0 … 62
 *                 32  f32 [8]: scales
 *
 * An integer is at most 31, and that is no accident: the dot's i16 lanes end at the sum of 32 products,
 * and 32 · 31 · 31 = 30752 is the most that fits. So a group costs what it costs in MXFP4. A scale is the
 * row's largest magnitude in the group over 31, an f32: powers of two would waste half of the range.
 */

// @ts-ignore: decorator
@inline export const LIMIT: i32 = 31;
// @ts-ignore: decorator
@inline export const A_GROUP_BYTES: usize = 288;
// @ts-ignore: decorator
@inline export const A_START: usize = 256;
// @ts-ignore: decorator
@inline export const A_SCALE: usize = 272;
// @ts-ignore: decorator
@inline export const B_GROUP_BYTES: usize = 544;
// @ts-ignore: decorator
@inline export const B_SCALE: usize = 512;
