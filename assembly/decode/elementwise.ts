/** Elementwise operations of a decoder, without fused multiply-add: the same bits on every machine. */
import { exp4 } from "../simd/exp";
import { loadUpTo4, storeUpTo4 } from "../simd/lanes";

/** out = a + b. f32 [length] each; `out` may be one of them. */
export function sumF32(out: usize, a: usize, b: usize, length: i32): void {
  for (let i = 0; i < length; i += 4) {
    const at = <usize>i << 2;
    storeUpTo4(out + at, f32x4.add(loadUpTo4(a + at, length - i), loadUpTo4(b + at, length - i)), length - i);
  }
}

/**
 * out = x · σ(2·√(2/π) · (x + 0.044715·x³)), GELU in its tanh form. f32 [length] each; `out` may be `x`.
 *
 * Source: Hendrycks & Gimpel, arXiv 1606.08415, as GPT-2 uses it
 */
export function geluTanhF32(out: usize, x: usize, length: i32): void {
  for (let i = 0; i < length; i += 4) {
    const at = <usize>i << 2;
    const v = loadUpTo4(x + at, length - i);
    const cubic = f32x4.add(f32x4.mul(f32x4.mul(v, v), f32x4.splat(0.07135481627)), f32x4.splat(1.5957691216057308));
    storeUpTo4(out + at, gated(v, f32x4.mul(v, cubic)), length - i);
  }
}

/** x · σ(z). For very negative z the divisor is infinite and the quotient 0. */
// @ts-ignore: decorator
@inline
function gated(x: v128, z: v128): v128 {
  return f32x4.div(x, f32x4.add(f32x4.splat(1), exp4(f32x4.neg(z))));
}
