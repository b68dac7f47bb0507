export { countMxfp4 } from "./mxfp4/count-mxfp4";
export { dequantizeMxfp4 } from "./mxfp4/dequantize-mxfp4";
export { dequantizeEdenMxfp4, quantizeEdenMxfp4 } from "./mxfp4/eden-mxfp4";
export { packGgmlMxfp4, unpackGgmlMxfp4 } from "./mxfp4/ggml-mxfp4";
export { gemmMxfp4 } from "./mxfp4/gemm-mxfp4";
export { gemmInt6, gemmOntoInt6, gramInt6 } from "./int6/gemm-int6";
export { accumulatesDots } from "./mxfp4/mxfp4-dot";
export { hadamardF32, signsF32 } from "./floats/hadamard";
export { packInt6, repackInt6 } from "./int6/pack-int6";
export { packEden } from "./int6/pack-eden";
export { packMxfp4 } from "./mxfp4/pack-mxfp4";
export { quantizeQ8 } from "./q8/quantize-q8";
export { quantizeNearestMxfp4, quantizeStochasticMxfp4 } from "./mxfp4/quantize-mxfp4";
export { countMxfp8 } from "./mxfp8/count-mxfp8";
export { dequantizeMxfp8 } from "./mxfp8/dequantize-mxfp8";
export { quantizeNearestMxfp8, quantizeStochasticMxfp8 } from "./mxfp8/quantize-mxfp8";
export { adamWF32 } from "./layers/adamw";
export { decodeBf16, encodeBf16, encodeBf16Stochastic } from "./floats/bf16";
export { decodeF16, encodeF16 } from "./floats/f16";
export { narrowF64 } from "./floats/f64";
export { largestBitsF32, largestByte } from "./floats/largest";
export { cosine, normalF32 } from "./random/normal";
export { centralMomentsF32, compareF32 } from "./floats/statistics";
export { addF32, canonicalizeNaNF32, scaleF32, sumSquaresF32 } from "./floats/vector";
export { attentionBackwardF32, attentionScratchBytes } from "./layers/attention-backward";
export { attentionForwardF32 } from "./layers/attention-forward";
export { biasBackwardF32, biasForwardF32 } from "./layers/bias";
export { embeddingBackwardF32, embeddingForwardF32 } from "./layers/embedding";
export { expF32 } from "./simd/exp";
export { geluBackwardF32, geluForwardF32 } from "./layers/gelu";
export { gemmF32, useWideVectors } from "./floats/gemm-f32";
export { packF32 } from "./floats/pack-f32";
export { layerNormBackwardF32, layerNormForwardF32 } from "./layers/layer-norm";
export { blendColumnsF32, copyColumnsF32, nesterovF32 } from "./layers/muon";
export { newtonSchulzF32, splitDiagonalF32 } from "./layers/newton-schulz";
export { rmsNormBackwardF32, rmsNormForwardF32 } from "./layers/rms-norm";
export { rotaryBackwardF32, rotaryForwardF32 } from "./layers/rotary";
export { swigluBackwardF32, swigluForwardF32 } from "./layers/swiglu";
export { fusesMadd } from "./simd/probe";
export {
  softmaxCrossEntropyBackwardF32,
  softmaxCrossEntropyForwardF32,
} from "./layers/softmax-cross-entropy";
export { transposeF32 } from "./simd/transpose";
export { fillNoise } from "./random/noise";

/** First address that the kernels' own tables do not use. */
export function heapBase(): usize {
  return __heap_base;
}
