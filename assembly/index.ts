export { dequantizeMxfp4 } from "./dequantize-mxfp4";
export { gemmMxfp4 } from "./gemm-mxfp4";
export { hadamardF32, hadamardInverseF32, signsF32 } from "./hadamard";
export { quantizeNearestMxfp4, quantizeStochasticMxfp4 } from "./quantize-mxfp4";
export { adamWF32 } from "./adamw";
export { decodeBf16, encodeBf16, encodeBf16Stochastic } from "./bf16";
export { cosine, normalF32 } from "./normal";
export { addF32, canonicalizeNaNF32, scaleF32, sumSquaresF32 } from "./vector";
export { fillNoise } from "./noise";

/** First address that the kernels' own tables do not use. */
export function heapBase(): usize {
  return __heap_base;
}
