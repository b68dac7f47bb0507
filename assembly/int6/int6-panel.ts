/**
 * Panel layout of the 6-bit integer GEMM: that of MXFP4 (mxfp4-panel.ts), with one scale per group of 64 k, and
 * without a header.
 *
 *   a          strips of 4 rows; in a strip the groups follow each other, 288 bytes each:
 *                256  16 units: 4 rows × 4 k of signed integers; unit 4c + j has k = 16c + j + {0, 8, 4, 12}
 *                 16  i16 [4, 2]: −31 · Σ of bytes 0 and 1, and of 2 and 3, of the row's units
 *                 16  f32 [4]: scales
 *   b          pairs of strips, 8 rows (columns of the product), 544 bytes a group:
 *                512  16 × (unit of rows 0 … 3, unit of rows 4 … 7), integers + 31, 0 … 62
 *                 32  f32 [8]: scales
 *
 * Integers are at most 31, because the i16 lanes of the dot product hold sums of 32 products, and 32 · 31 · 31 =
 * 30752 is the most that fits. So a group costs as much as in MXFP4. A scale is the row's largest magnitude in the
 * group over 31, as f32: powers of two would waste up to half of the range.
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
