/** What lies between a decoder's products, by multiplies and adds alone: the same bits on every machine. */
import { exp4 } from "../simd/exp";
import { loadPartial, storePartial, sumLanes } from "../simd/lanes";

/** out = a + b. f32 [length] each; `out` may be one of them. */
export function sumF32(out: usize, a: usize, b: usize, length: i32): void {
  for (let i = 0; i < length; i += 4) {
    const at = <usize>i << 2;
    put(out + at, f32x4.add(take(a + at, length - i), take(b + at, length - i)), length - i);
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
    const v = take(x + at, length - i);
    const cubic = f32x4.add(f32x4.mul(f32x4.mul(v, v), f32x4.splat(0.07135481627)), f32x4.splat(1.5957691216057308));
    put(out + at, gated(v, f32x4.mul(v, cubic)), length - i);
  }
}

/** out = gate · σ(gate) · up, as SwiGLU has it. f32 [length] each; `out` may be one of them. */
export function siluProductF32(out: usize, gate: usize, up: usize, length: i32): void {
  for (let i = 0; i < length; i += 4) {
    const at = <usize>i << 2;
    const v = take(gate + at, length - i);
    put(out + at, f32x4.mul(gated(v, v), take(up + at, length - i)), length - i);
  }
}

/**
 * out = x / √(mean(x²) + epsilon) · weight over each row.
 *
 * Shapes:   out, x f32 [rows, width], `stride` apart; weight f32 [width]; `out` may be `x`
 * Source:   Zhang & Sennrich, arXiv 1910.07467
 */
export function rmsNormF32(
  out: usize, x: usize, weight: usize, rows: i32, width: i32, stride: i32, epsilon: f32,
): void {
  assert(rows >= 1 && width >= 1, "sizes must be positive");

  for (let row = 0; row < rows; row++, x += <usize>stride << 2, out += <usize>stride << 2) {
    let squares = f32x4.splat(0);
    for (let i = 0; i < width; i += 4) {
      const v = take(x + (<usize>i << 2), width - i);
      squares = f32x4.add(squares, f32x4.mul(v, v));
    }
    const factor = f32x4.splat(1 / sqrt<f32>(sumLanes(squares) / <f32>width + epsilon));
    for (let i = 0; i < width; i += 4) {
      const at = <usize>i << 2;
      const v = f32x4.mul(take(x + at, width - i), factor);
      put(out + at, f32x4.mul(v, take(weight + at, width - i)), width - i);
    }
  }
}

/**
 * Rotary positions, in place: channels i and i + D / 2 of a head are a pair that is turned.
 *
 * Shapes:   x f32 [tokens, heads, D], tokens `stride` apart; cosines, sines f32 [tokens, D / 2]
 * Source:   Su et al., arXiv 2104.09864, in the order of channels that transformers has
 */
export function rotaryF32(
  x: usize, cosines: usize, sines: usize, tokens: i32, heads: i32, headWidth: i32, stride: i32,
): void {
  assert(headWidth % 2 == 0, "a head must have pairs");

  const half = headWidth >> 1;
  const halfBytes = <usize>half << 2;
  for (let token = 0; token < tokens; token++, x += <usize>stride << 2, cosines += halfBytes, sines += halfBytes) {
    for (let head = 0; head < heads; head++) {
      const first = x + <usize>head * 2 * halfBytes;
      for (let i: usize = 0; i < halfBytes; i += 4) {
        const a = load<f32>(first + i);
        const b = load<f32>(first + halfBytes + i);
        const cosine = load<f32>(cosines + i);
        const sine = load<f32>(sines + i);
        store<f32>(first + i, a * cosine - b * sine);
        store<f32>(first + halfBytes + i, b * cosine + a * sine);
      }
    }
  }
}

/** x · σ(z). Far below 0 the divisor is infinite and the quotient a zero. */
// @ts-ignore: decorator
@inline
function gated(x: v128, z: v128): v128 {
  return f32x4.div(x, f32x4.add(f32x4.splat(1), exp4(f32x4.neg(z))));
}

// @ts-ignore: decorator
@inline
function take(source: usize, left: i32): v128 {
  return left >= 4 ? v128.load(source) : loadPartial(source, left, 0);
}

// @ts-ignore: decorator
@inline
function put(target: usize, v: v128, left: i32): void {
  if (left >= 4) v128.store(target, v);
  else storePartial(target, v, left);
}
