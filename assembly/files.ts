/**
 * The kernels for files, for the package and the playground: without relaxed SIMD, which Node 20 and Safari do not
 * have, and a third of the size. The compiler rejects relaxed SIMD in this module.
 */
export { countMxfp4 } from "./mxfp4/count-mxfp4";
export { dequantizeMxfp4 } from "./mxfp4/dequantize-mxfp4";
export { packGgmlMxfp4, unpackGgmlMxfp4 } from "./mxfp4/ggml-mxfp4";
export { hadamardF32, signsF32 } from "./floats/hadamard";
export { quantizeQ8 } from "./q8/quantize-q8";
export { quantizeNearestMxfp4, quantizeStochasticMxfp4 } from "./mxfp4/quantize-mxfp4";
export { countMxfp8 } from "./mxfp8/count-mxfp8";
export { dequantizeMxfp8 } from "./mxfp8/dequantize-mxfp8";
export { quantizeNearestMxfp8, quantizeStochasticMxfp8 } from "./mxfp8/quantize-mxfp8";
export { decodeBf16, encodeBf16 } from "./floats/bf16";
export { decodeF16, encodeF16 } from "./floats/f16";
export { narrowF64 } from "./floats/f64";
export { largestBitsF32, largestByte } from "./floats/largest";
export { normalF32 } from "./random/normal";
export { centralMomentsF32, compareF32 } from "./floats/statistics";
export { canonicalizeNaNF32 } from "./floats/vector";
export { expF32 } from "./simd/exp";
export { transposeF32 } from "./simd/transpose";

/** First address that the kernels' own tables do not use. */
export function heapBase(): usize {
  return __heap_base;
}
