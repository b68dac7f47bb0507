export { adamWF32 } from "./adamw";
export { decodeBf16, encodeBf16, encodeBf16Stochastic } from "./bf16";
export { cosine, normalF32 } from "./normal";
export { addF32, canonicalizeNaNF32, scaleF32, sumSquaresF32 } from "./vector";
export { fillNoise } from "./noise";

/** First address that the kernels' own tables do not use. */
export function heapBase(): usize {
  return __heap_base;
}
