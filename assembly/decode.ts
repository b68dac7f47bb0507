/**
 * The kernels of text generation: a separate module, without relaxed SIMD, so that the same seed gives the same text
 * on every machine and in every Node version that the package supports. Its tables lie above the other module's, in
 * the same memory (asconfig.json, `memoryBase`).
 */
export { attendF32 } from "./decode/attend";
export { geluTanhF32, sumF32 } from "./decode/elementwise";
export { multiplyPanelsF32, packPanelF32, panelRowF32 } from "./decode/panels-f32";
export { multiplyPanelsMxfp4, packPanelMxfp4, panelRowMxfp4, quantizeRowsI16 } from "./decode/panels-mxfp4";
export { layerNormForwardF32 } from "./layers/layer-norm";
export { rmsNormForwardF32 } from "./layers/rms-norm";
export { rotaryForwardF32 } from "./layers/rotary";
export { swigluForwardF32 } from "./layers/swiglu";
export { expF32 } from "./simd/exp";
export { fillNoise } from "./random/noise";

/** First address that these kernels' own tables do not use. */
export function heapBase(): usize {
  return __heap_base;
}
