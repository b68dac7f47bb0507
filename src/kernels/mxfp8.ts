import { type NearestMode, type ScaleRule } from "../api/scheme.ts";
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

/** The elements' types, in the kernels' order. */
export const FLOAT8_TYPES = ["e4m3", "e5m2"] as const;
export type Float8Type = (typeof FLOAT8_TYPES)[number];

/** Modes of ties, in the kernel's order; nearest-zero (ggml) only exists for MXFP4. */
const TIES: readonly NearestMode[] = ["nearest-even", "nearest-away"];

export type Mxfp8Quantizer = {
  rounding: { mode: NearestMode } | StochasticRounding;
  /** Any rule; with stochastic rounding, not mse. */
  scale: ScaleRule;
  /** The smallest scale byte; default 0. */
  minScale?: 0 | 1;
};

/**
 * MXFP8 of `length` f32 values, blocks of 32 along memory.
 *
 * Shapes:   elements u8 [length]; scales u8 [length / 32]; input f32 [length], 16-byte aligned
 * Special:  a NaN or infinity gives its block scale 255 and elements 0; a zero block gets scale 0,
 *           or `minScale`; what exceeds the largest finite value becomes it. A zero keeps its sign
 * Source:   OCP MX v1.0 §6.3
 */
export function quantizeMxfp8(
  elements: Pointer,
  scales: Pointer,
  input: Pointer,
  length: number,
  type: Float8Type,
  { rounding, scale, minScale = 0 }: Mxfp8Quantizer,
): void {
  checkMultiple("length", length, BLOCK_SIZE);
  checkAligned("input", input);
  const { exports } = kernels();
  const element = FLOAT8_TYPES.indexOf(type);
  const rule = scaleRule(scale, rounding);
  if (rounding.mode !== "stochastic") {
    const ties = TIES.indexOf(rounding.mode);
    if (ties < 0) {
      throw new RangeError(
        `Expected a rounding of ${TIES.join(", ")} or stochastic for MXFP8, got ${rounding.mode}`,
      );
    }
    exports.quantizeNearestMxfp8(
      elements,
      scales,
      input,
      length,
      element,
      ties,
      rule,
      minScale,
    );
    return;
  }
  const first = firstPair(rounding, length);
  const [key0, key1] = rounding.key;
  exports.quantizeStochasticMxfp8(
    elements,
    scales,
    input,
    length,
    element,
    rule,
    minScale,
    key0,
    key1,
    first,
  );
}

/** Dequantizes. out f32 [length], 16-byte aligned. */
export function dequantizeMxfp8(
  out: Pointer,
  elements: Pointer,
  scales: Pointer,
  length: number,
  type: Float8Type,
): void {
  checkMultiple("length", length, BLOCK_SIZE);
  checkAligned("out", out);
  const element = FLOAT8_TYPES.indexOf(type);
  kernels().exports.dequantizeMxfp8(out, elements, scales, length, element);
}

/** Counts the elements of x f32 [length] by what quantization did to them. Called inside `arena.scope`. */
export function countMxfp8(
  x: Pointer,
  elements: Pointer,
  scales: Pointer,
  length: number,
  type: Float8Type,
): Counts {
  const { exports } = kernels();
  const element = FLOAT8_TYPES.indexOf(type);
  return countsOf((out) =>
    exports.countMxfp8(out, x, elements, scales, length, element),
  );
}
