/** Bytes of one block's elements, two a byte, the even index in the low nibble. */
// @ts-ignore: decorator
@inline export const BLOCK_BYTES: i32 = 16;
/** Exponent of the largest E2M1 magnitude: 6 = 1.5 · 2^2. */
// @ts-ignore: decorator
@inline export const E2M1_EMAX: i32 = 2;
