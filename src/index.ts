/**
 * The library, `mxfp4-edge`: what the tensor routes do, in this process. In Node, browsers and Workers.
 *
 *   const answer = await quantize(await openAsBlob("model.safetensors"), { rounding: "stochastic" });
 *   await writeFile("model-mxfp4.safetensors", answer.body);
 *
 * Options and answers are those of the client in `mxfp4-edge/client`: a Response whose body is computed
 * as it is read. Same input, same options, same bytes, here and there.
 */
import kernelModule from "../build/kernels.wasm";
import type {
  Analysis,
  AnalyzeOptions,
  DequantizeOptions,
  FloatsOptions,
  HadamardOptions,
  QuantizedFloats,
  QuantizeOptions,
  RepackOptions,
  TensorBody,
} from "./api/tensors.ts";
import { loadImported } from "./kernels/load-imported.ts";
import { analyzeWhole, convert } from "./library/convert.ts";
import { packFloats, unpack } from "./library/floats.ts";

export { AppError, type ErrorCode } from "./api/errors.ts";
export { readHead } from "./library/head.ts";
export type * from "./api/tensors.ts";

const load = (): Promise<unknown> => loadImported(kernelModule);

/** Quantizes a file's float tensors to MXFP4: safetensors, .npy, GGUF or raw. Throws an AppError. */
export function quantize(
  body: TensorBody,
  options: QuantizeOptions = {},
): Promise<Response> {
  return convert("quantize", body, options, load);
}

/** Dequantizes a file's MXFP4 tensors to floats. */
export function dequantize(
  body: TensorBody,
  options: DequantizeOptions = {},
): Promise<Response> {
  return convert("dequantize", body, options, load);
}

/** Converts a file's quantized tensors to another layout, with the same codes and scales. */
export function repack(
  body: TensorBody,
  options: RepackOptions,
): Promise<Response> {
  return convert("repack", body, options, load);
}

/**
 * Applies the blockwise random Hadamard transform, or its inverse, to a file's float tensors. GGUF is refused, since
 * its readers would not invert the rotation.
 */
export function hadamard(
  body: TensorBody,
  options: HadamardOptions = {},
): Promise<Response> {
  return convert("hadamard", body, options, load);
}

/**
 * Reports the quantization error of each tensor for one or more schemes, and the tensors that quantizing would not
 * change.
 */
export function analyze(
  body: TensorBody,
  options: AnalyzeOptions = {},
): Promise<Analysis> {
  return analyzeWhole(body, options, load);
}

/** Quantizes floats; elements and scales are those of a file with only this tensor. */
export function quantizeFloats(
  values: Float32Array,
  options: FloatsOptions = {},
): Promise<QuantizedFloats> {
  return packFloats(values, options, load);
}

/** And back. */
export function dequantizeFloats(
  packed: QuantizedFloats,
): Promise<Float32Array> {
  return unpack(packed, load);
}
