/** Elementwise kernels on f32 vectors, for shards and wire formats. */
import type { Pointer } from "./arena.ts";
import type { NoiseKey } from "./noise.ts";
import { kernels } from "./runtime.ts";

/** out = a + b; `out` may be `a` or `b`. f32 [length] each. */
export function add(
  out: Pointer,
  a: Pointer,
  b: Pointer,
  length: number,
): void {
  kernels().exports.addF32(out, a, b, length);
}

/** x *= factor, in place. f32 [length]. */
export function scale(x: Pointer, length: number, factor: number): void {
  kernels().exports.scaleF32(x, length, factor);
}

/** Σ x², in f64 and in a fixed order. f32 [length]. */
export function sumSquares(x: Pointer, length: number): number {
  return kernels().exports.sumSquaresF32(x, length);
}

/** bf16 bits of `x`, nearest even; a NaN becomes 0x7fc0. out u16 [length]; x f32 [length]. */
export function encodeBf16(out: Pointer, x: Pointer, length: number): void {
  kernels().exports.encodeBf16(out, x, length);
}

/** bf16 bits of `x`, stochastically rounded: E[decode(out)] = x. `firstElement` is even. */
export function encodeBf16Stochastic(
  out: Pointer,
  x: Pointer,
  length: number,
  key: NoiseKey,
  firstElement: number,
): void {
  kernels().exports.encodeBf16Stochastic(
    out,
    x,
    length,
    key[0],
    key[1],
    firstElement / 2,
  );
}

/** f32 values of bf16 bits. out f32 [length]; bits u16 [length]. */
export function decodeBf16(out: Pointer, bits: Pointer, length: number): void {
  kernels().exports.decodeBf16(out, bits, length);
}

/** f16 bits of `x`, nearest even; a NaN becomes 0x7e00. out u16 [length]; x f32 [length]. */
export function encodeF16(out: Pointer, x: Pointer, length: number): void {
  kernels().exports.encodeF16(out, x, length);
}

/** f32 values of f16 bits. out f32 [length]; bits u16 [length]. */
export function decodeF16(out: Pointer, bits: Pointer, length: number): void {
  kernels().exports.decodeF16(out, bits, length);
}

/** f32 values of f64, nearest even. out f32 [length]; x f64 [length]. */
export function narrowF64(out: Pointer, x: Pointer, length: number): void {
  kernels().exports.narrowF64(out, x, length);
}

/** Every NaN of `x` becomes the one with bits 0x7fc00000, in place, so equal values are equal bytes. */
export function canonicalizeNaN(x: Pointer, length: number): void {
  kernels().exports.canonicalizeNaNF32(x, length);
}

/** Normal draws with standard deviation `deviation`; draw i only depends on (key, firstElement + i). f32 [length]. */
export function drawNormal(
  out: Pointer,
  length: number,
  deviation: number,
  key: NoiseKey,
  firstElement: number,
): void {
  kernels().exports.normalF32(
    out,
    length,
    deviation,
    key[0],
    key[1],
    firstElement,
  );
}

export type AdamWStep = {
  /** Updates so far, this one included: 1, 2, … */
  updates: number;
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** The clip coefficient: multiplies the gradient first. */
  gradientScale: number;
};

/**
 * One AdamW update in place. parameters, m, v, gradient: f32 [length].
 * Source: Loshchilov & Hutter, arXiv 1711.05101, Algorithm 2 (decoupled decay, bias correction)
 */
export function adamW(
  parameters: Pointer,
  m: Pointer,
  v: Pointer,
  gradient: Pointer,
  length: number,
  step: AdamWStep,
): void {
  // Bias corrections in f64, as PyTorch computes them; the powers are plain repeated products, so
  // they are the same on every machine.
  const correction1 = 1 - power(step.beta1, step.updates);
  const correction2 = 1 - power(step.beta2, step.updates);
  kernels().exports.adamWF32(
    parameters,
    m,
    v,
    gradient,
    length,
    step.gradientScale,
    step.beta1,
    step.beta2,
    step.learningRate / correction1,
    Math.sqrt(correction2),
    step.epsilon,
    1 - step.learningRate * step.weightDecay,
  );
}

/**
 * Nesterov momentum, in place: m = momentum · m + gradient, and direction = gradient + momentum · m. f32 [length]
 * each, a multiple of 4.
 */
export function nesterov(
  direction: Pointer,
  m: Pointer,
  gradient: Pointer,
  length: number,
  momentum: number,
): void {
  kernels().exports.nesterovF32(direction, m, gradient, length, momentum);
}

/**
 * Copies columns of a matrix to a separate one. out f32 [rows, columns]; x f32, rows `xStride` apart; columns a
 * multiple of 4.
 */
export function copyColumns(
  out: Pointer,
  x: Pointer,
  xStride: number,
  rows: number,
  columns: number,
): void {
  kernels().exports.copyColumnsF32(out, x, xStride, rows, columns);
}

/**
 * out = a · out + b · x on columns of a matrix, in place.
 * out f32, rows `outStride` apart; x f32 [rows, columns]; columns a multiple of 4.
 */
export function blendColumns(
  out: Pointer,
  outStride: number,
  x: Pointer,
  rows: number,
  columns: number,
  a: number,
  b: number,
): void {
  kernels().exports.blendColumnsF32(out, outStride, x, rows, columns, a, b);
}

/** cos(x), by the kernels' own series: the same on every machine, as Math.cos need not be. */
export function cosine(x: number): number {
  return kernels().exports.cosine(x);
}

/** base^exponent for a whole exponent ≥ 0, by squaring. */
function power(base: number, exponent: number): number {
  let result = 1;
  for (
    let factor = base, rest = exponent;
    rest > 0;
    rest = Math.floor(rest / 2)
  ) {
    if (rest % 2 === 1) result *= factor;
    factor *= factor;
  }
  return result;
}
