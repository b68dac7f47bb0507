/** Elementwise operations: biases and activations. */
import type { Pointer } from "./arena.ts";
import { checkCount } from "./check.ts";
import { kernels } from "./runtime.ts";

/** Every row of `out` = bias. out f32 [rows, columns]; bias f32 [columns]. */
export function biasForward(
  out: Pointer,
  bias: Pointer,
  rows: number,
  columns: number,
): void {
  checkCount("rows", rows);
  checkCount("columns", columns);
  kernels().exports.biasForwardF32(out, bias, rows, columns);
}

/** dBias += the sum of dOut's rows. dBias f32 [columns]; dOut f32 [rows, columns]. */
export function biasBackward(
  dBias: Pointer,
  dOut: Pointer,
  rows: number,
  columns: number,
): void {
  checkCount("rows", rows);
  checkCount("columns", columns);
  kernels().exports.biasBackwardF32(dBias, dOut, rows, columns);
}

/** out = gelu(x), tanh form. f32 [length] each; `out` may be `x`. */
export function geluForward(out: Pointer, x: Pointer, length: number): void {
  checkCount("length", length);
  kernels().exports.geluForwardF32(out, x, length);
}

/** dX = dOut · gelu′(x). f32 [length] each; `dX` may be `dOut`. */
export function geluBackward(
  dX: Pointer,
  dOut: Pointer,
  x: Pointer,
  length: number,
): void {
  checkCount("length", length);
  kernels().exports.geluBackwardF32(dX, dOut, x, length);
}

/** out = gate · σ(gate) · up. out f32 [rows, width]; gate, up likewise, `stride` apart. */
export function swigluForward(
  out: Pointer,
  gate: Pointer,
  up: Pointer,
  rows: number,
  width: number,
  stride = width,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.swigluForwardF32(out, gate, up, rows, width, stride);
}

/** The gradients of gate and up, which may be computed in place. dOut f32 [rows, width]; the others `stride` apart. */
export function swigluBackward(
  dGate: Pointer,
  dUp: Pointer,
  dOut: Pointer,
  gate: Pointer,
  up: Pointer,
  rows: number,
  width: number,
  stride = width,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.swigluBackwardF32(
    dGate,
    dUp,
    dOut,
    gate,
    up,
    rows,
    width,
    stride,
  );
}

/** out = e^x. f32 [length] each; `out` may be `x`. */
export function exp(out: Pointer, x: Pointer, length: number): void {
  checkCount("length", length);
  kernels().exports.expF32(out, x, length);
}
