import {
  NEAREST_MODES,
  type NearestMode,
  type Prescale,
  type ScaleRule,
} from "../api/scheme.ts";
import type { Pointer } from "./arena.ts";
import { checkAligned, checkMultiple } from "./check.ts";
import {
  BLOCK_SIZE,
  firstPair,
  scaleRule,
  type StochasticRounding,
} from "./mx.ts";
import { kernels } from "./runtime.ts";
import { type Counts, countsOf } from "./statistics.ts";

export type Quantizer = {
  rounding: { mode: NearestMode } | StochasticRounding;
  /** Any rule; with stochastic rounding, not mse. */
  scale: ScaleRule;
  prescale: Prescale;
  /** The smallest scale byte; default 0. */
  minScale?: 0 | 1;
};

/**
 * MXFP4 of `length` f32 values, blocks of 32 along memory.
 *
 * Shapes:   elements u8 [length / 2], even index in the low nibble; scales u8 [length / 32];
 *           input f32 [length], 16-byte aligned
 * Special:  a NaN or infinity gives its block scale 255 and elements 0; a zero block gets scale 0,
 *           or `minScale`. A zero keeps its sign, unless ties go toward zero
 * Source:   OCP MX v1.0 §6.3; Algorithms 1 and 2 of arXiv 2502.20586
 */
export function quantizeMxfp4(
  elements: Pointer,
  scales: Pointer,
  input: Pointer,
  length: number,
  quantizer: Quantizer,
): void {
  checkMultiple("length", length, BLOCK_SIZE);
  checkAligned("input", input);
  const { exports } = kernels();
  const { rounding, prescale, minScale = 0 } = quantizer;
  const rule = scaleRule(quantizer.scale, rounding);
  if (rounding.mode !== "stochastic") {
    const ties = NEAREST_MODES.indexOf(rounding.mode);
    exports.quantizeNearestMxfp4(
      elements,
      scales,
      input,
      length,
      ties,
      rule,
      prescale,
      minScale,
    );
    return;
  }
  const first = firstPair(rounding, length);
  const [key0, key1] = rounding.key;
  exports.quantizeStochasticMxfp4(
    elements,
    scales,
    input,
    length,
    rule,
    prescale,
    minScale,
    key0,
    key1,
    first,
  );
}

/** Dequantizes, times `factor` (4/3 for one tensor of Algorithm 2, otherwise 1). out f32 [length]. */
export function dequantizeMxfp4(
  out: Pointer,
  elements: Pointer,
  scales: Pointer,
  length: number,
  factor: number,
): void {
  checkMultiple("length", length, BLOCK_SIZE);
  checkAligned("out", out);
  kernels().exports.dequantizeMxfp4(out, elements, scales, length, factor);
}

/** Counts the elements of x f32 [length] by what quantization did to them. Called inside `arena.scope`. */
export function countMxfp4(
  x: Pointer,
  elements: Pointer,
  scales: Pointer,
  length: number,
  prescale: Prescale,
): Counts {
  const { exports } = kernels();
  return countsOf((out) =>
    exports.countMxfp4(out, x, elements, scales, length, prescale),
  );
}

/** Bytes of one of ggml's blocks. */
export const GGML_BLOCK_BYTES = 17;

/** Packs MXFP4 elements and scales as ggml's blocks. out u8 [17 · blocks]. */
export function packGgml(
  out: Pointer,
  elements: Pointer,
  scales: Pointer,
  blocks: number,
): void {
  kernels().exports.packGgmlMxfp4(out, elements, scales, blocks);
}

/** The inverse of `packGgml`. elements u8 [16 · blocks]; scales u8 [blocks]. */
export function unpackGgml(
  elements: Pointer,
  scales: Pointer,
  packed: Pointer,
  blocks: number,
): void {
  kernels().exports.unpackGgmlMxfp4(elements, scales, packed, blocks);
}
