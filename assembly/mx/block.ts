/** Constants of all MX formats of OCP MX v1.0: 32 elements share an E8M0 scale. */

/** Elements that share one scale. */
// @ts-ignore: decorator
@inline export const BLOCK_SIZE: i32 = 32;
/** Bytes of one block's f32 values. */
// @ts-ignore: decorator
@inline export const BLOCK_F32_BYTES: usize = 128;
/** An E8M0 byte e means 2^(e − 127). */
// @ts-ignore: decorator
@inline export const E8M0_BIAS: i32 = 127;
/** Scale byte of a block that holds a NaN or an infinity. */
// @ts-ignore: decorator
@inline export const E8M0_NAN: i32 = 255;
