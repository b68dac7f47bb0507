/** LayerNorm and RMSNorm. */
import type { Pointer } from "./arena.ts";
import { checkCount } from "./check.ts";
import { kernels } from "./runtime.ts";

/** Saved by a LayerNorm for its backward pass: f32 [rows] each. */
export type RowMoments = { mean: Pointer; rstd: Pointer };

/** A LayerNorm's parameters, or their gradients: f32 [width] each. */
export type LayerNormParameters = { weight: Pointer; bias: Pointer };

/** out = (x − mean) · rstd · weight + bias, epsilon 1e-5. out, x f32 [rows, width]. */
export function layerNormForward(
  out: Pointer,
  moments: RowMoments,
  x: Pointer,
  parameters: LayerNormParameters,
  rows: number,
  width: number,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.layerNormForwardF32(
    out,
    moments.mean,
    moments.rstd,
    x,
    parameters.weight,
    parameters.bias,
    rows,
    width,
  );
}

/** Adds to `dX` and to both gradients. dX, dOut, x f32 [rows, width]. */
export function layerNormBackward(
  dX: Pointer,
  gradients: LayerNormParameters,
  dOut: Pointer,
  x: Pointer,
  moments: RowMoments,
  weight: Pointer,
  rows: number,
  width: number,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.layerNormBackwardF32(
    dX,
    gradients.weight,
    gradients.bias,
    dOut,
    x,
    moments.mean,
    moments.rstd,
    weight,
    rows,
    width,
  );
}

/** out = x · rstd · weight, rstd = 1 / √(mean(x²) + epsilon), kept. out, x f32 [rows, width], `stride` apart; rstd f32 [rows]. */
export function rmsNormForward(
  out: Pointer,
  rstd: Pointer,
  x: Pointer,
  weight: Pointer,
  rows: number,
  width: number,
  epsilon: number,
  stride = width,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.rmsNormForwardF32(
    out,
    rstd,
    x,
    weight,
    rows,
    width,
    stride,
    epsilon,
  );
}

/** Adds to `dX` and to dWeight. dX, dOut, x f32 [rows, width], `stride` apart. */
export function rmsNormBackward(
  dX: Pointer,
  dWeight: Pointer,
  dOut: Pointer,
  x: Pointer,
  rstd: Pointer,
  weight: Pointer,
  rows: number,
  width: number,
  stride = width,
): void {
  checkCount("rows", rows);
  checkCount("width", width);
  kernels().exports.rmsNormBackwardF32(
    dX,
    dWeight,
    dOut,
    x,
    rstd,
    weight,
    rows,
    width,
    stride,
  );
}
