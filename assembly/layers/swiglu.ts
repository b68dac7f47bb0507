/**
 * SwiGLU, the gated activation of Llama, without fused multiply-add: the same bits on every machine.
 *
 *   out = gate · σ(gate) · up
 *
 * Source: Shazeer, arXiv 2002.05202
 */
import { exp4 } from "../simd/exp";

/**
 * Shapes:   out f32 [rows, width]; gate, up f32 [rows, width], rows `stride` apart; `out` may be one of them if
 *           stride = width
 * Special:  very negative gates give 0
 */
export function swigluForwardF32(
  out: usize, gate: usize, up: usize, rows: i32, width: i32, stride: i32,
): void {
  assert(rows >= 0 && width > 0, "sizes must be positive");
  assert(stride >= width, "rows must not overlap");

  const rowBytes = <usize>width << 2;
  const wholeBytes = <usize>(width & ~3) << 2;
  for (let row = 0; row < rows; row++) {
    for (let at: usize = 0; at < wholeBytes; at += 16) {
      const g = v128.load(gate + at);
      v128.store(out + at, f32x4.mul(f32x4.mul(g, sigmoid4(g)), v128.load(up + at)));
    }
    for (let at = wholeBytes; at < rowBytes; at += 4) {
      const g = load<f32>(gate + at);
      store<f32>(out + at, g * sigmoid(g) * load<f32>(up + at));
    }
    out += rowBytes;
    gate += <usize>stride << 2;
    up += <usize>stride << 2;
  }
}

/**
 * With s = σ(gate):
 *
 *   dUp = dOut · gate · s;  dGate = dOut · up · s · (1 + gate · (1 − s))
 *
 * Shapes:   dOut f32 [rows, width]; the others f32 [rows, width], rows `stride` apart; dGate may be gate, dUp up
 */
export function swigluBackwardF32(
  dGate: usize, dUp: usize, dOut: usize, gate: usize, up: usize, rows: i32, width: i32, stride: i32,
): void {
  assert(rows >= 0 && width > 0, "sizes must be positive");
  assert(stride >= width, "rows must not overlap");

  const one = f32x4.splat(1);
  const strideBytes = <usize>stride << 2;
  const rowBytes = <usize>width << 2;
  const wholeBytes = <usize>(width & ~3) << 2;
  for (let row = 0; row < rows; row++) {
    for (let at: usize = 0; at < wholeBytes; at += 16) {
      const g = v128.load(gate + at);
      const u = v128.load(up + at);
      const d = v128.load(dOut + at);
      const s = sigmoid4(g);
      const slope = f32x4.mul(s, f32x4.add(one, f32x4.mul(g, f32x4.sub(one, s))));
      v128.store(dUp + at, f32x4.mul(d, f32x4.mul(g, s)));
      v128.store(dGate + at, f32x4.mul(f32x4.mul(d, u), slope));
    }
    for (let at = wholeBytes; at < rowBytes; at += 4) {
      const g = load<f32>(gate + at);
      const u = load<f32>(up + at);
      const d = load<f32>(dOut + at);
      const s = sigmoid(g);
      store<f32>(dUp + at, d * (g * s));
      store<f32>(dGate + at, d * u * (s * (1 + g * (1 - s))));
    }
    dGate += strideBytes;
    dUp += strideBytes;
    gate += strideBytes;
    up += strideBytes;
    dOut += rowBytes;
  }
}

/** σ(x). For very negative x the divisor is infinite and the quotient 0. Not inlined, for code size. */
function sigmoid4(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))));
}

/** The same for one value. */
// @ts-ignore: decorator
@inline
function sigmoid(x: f32): f32 {
  return f32x4.extract_lane(sigmoid4(f32x4.splat(x)), 0);
}
