/**
 * The kernels that files need, for the package: without relaxed SIMD, which Node 20 does not have, and
 * a third of the size. Compiled so that none slips in.
 */
export { dequantizeMxfp4 } from "./dequantize-mxfp4";
export { packGgmlMxfp4, unpackGgmlMxfp4 } from "./ggml-mxfp4";
export { hadamardF32, signsF32 } from "./hadamard";
export { quantizeNearestMxfp4, quantizeStochasticMxfp4 } from "./quantize-mxfp4";
export { decodeBf16, encodeBf16 } from "./bf16";
export { decodeF16, encodeF16 } from "./f16";
export { narrowF64 } from "./f64";
export { centralMomentsF32, compareF32, countMxfp4 } from "./statistics";
export { canonicalizeNaNF32 } from "./vector";

/** First address that the kernels' own tables do not use. */
export function heapBase(): usize {
  return __heap_base;
}
