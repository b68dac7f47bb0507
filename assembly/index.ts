export { dequantizeMxfp4 } from "./dequantize-mxfp4";
export { packGgmlMxfp4, unpackGgmlMxfp4 } from "./ggml-mxfp4";
export { gemmMxfp4 } from "./gemm-mxfp4";
export { gemmInt6 } from "./gemm-int6";
export { accumulatesDots } from "./mxfp4-dot";
export { hadamardF32, signsF32 } from "./hadamard";
export { packInt6 } from "./pack-int6";
export { packMxfp4 } from "./pack-mxfp4";
export { quantizeNearestMxfp4, quantizeStochasticMxfp4 } from "./quantize-mxfp4";
export { adamWF32 } from "./adamw";
export { decodeBf16, encodeBf16, encodeBf16Stochastic } from "./bf16";
export { decodeF16, encodeF16 } from "./f16";
export { narrowF64 } from "./f64";
export { cosine, normalF32 } from "./normal";
export { centralMomentsF32, compareF32, countMxfp4 } from "./statistics";
export { addF32, canonicalizeNaNF32, scaleF32, sumSquaresF32 } from "./vector";
export { attentionBackwardF32, attentionForwardF32, attentionScratchBytes } from "./attention";
export { biasBackwardF32, biasForwardF32 } from "./bias";
export { embeddingBackwardF32, embeddingForwardF32 } from "./embedding";
export { expF32 } from "./exp";
export { geluBackwardF32, geluForwardF32 } from "./gelu";
export { gemmF32, packF32 } from "./gemm-f32";
export { layerNormBackwardF32, layerNormForwardF32 } from "./layer-norm";
export { fusesMadd } from "./probe";
export {
  softmaxCrossEntropyBackwardF32,
  softmaxCrossEntropyForwardF32,
} from "./softmax-cross-entropy";
export { transposeF32 } from "./transpose";
export { fillNoise } from "./noise";

/** First address that the kernels' own tables do not use. */
export function heapBase(): usize {
  return __heap_base;
}
