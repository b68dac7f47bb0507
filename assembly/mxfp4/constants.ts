/** Elements that share one scale. OCP MX v1.0 fixes it at 32 for MXFP4. */
// @ts-ignore: decorator
@inline export const BLOCK_SIZE: i32 = 32;
/** Bytes of one block's elements, two a byte, the even index in the low nibble. */
// @ts-ignore: decorator
@inline export const BLOCK_BYTES: i32 = 16;
/** Bytes of one block's f32 values. */
// @ts-ignore: decorator
@inline export const BLOCK_F32_BYTES: usize = 128;
/** Exponent of the largest E2M1 magnitude: 6 = 1.5 · 2^2. */
// @ts-ignore: decorator
@inline export const E2M1_EMAX: i32 = 2;
/** An E8M0 byte e means 2^(e − 127). */
// @ts-ignore: decorator
@inline export const E8M0_BIAS: i32 = 127;
/** Scale byte of a block that holds a NaN or an infinity. */
// @ts-ignore: decorator
@inline export const E8M0_NAN: i32 = 255;
