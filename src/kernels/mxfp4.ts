import { AppError } from "../api/errors.ts";
import {
  NEAREST_MODES,
  type NearestMode,
  type Prescale,
  SCALE_RULES,
  type ScaleRule,
  type SegmentLength,
} from "../api/scheme.ts";
import type { Pointer } from "./arena.ts";
import { checkAligned, checkMultiple } from "./check.ts";
import type { NoiseKey } from "./noise.ts";
import { kernels } from "./runtime.ts";

export const BLOCK_SIZE = 32;

/** How elements are rounded; stochastic rounding names its noise. */
export type Rounding =
  | { mode: NearestMode }
  | {
      mode: "stochastic";
      key: NoiseKey;
      /** Index of `input[0]` in the tensor that the key names; even. */
      firstElement: number;
    };

export type Quantizer = {
  rounding: Rounding;
  scale: ScaleRule;
  prescale: Prescale;
  /** The least scale byte, 0 unless said otherwise. */
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
  const rule = SCALE_RULES.indexOf(quantizer.scale);
  const { rounding, prescale, minScale = 0 } = quantizer;
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
  checkMultiple("firstElement", rounding.firstElement, 2);
  const [key0, key1] = rounding.key;
  const firstPair = rounding.firstElement / 2;
  if (firstPair + length / 2 > 2 ** 32) {
    throw new AppError(
      "shape_mismatch",
      `Expected fewer than 2^33 elements in a tensor, got index ${rounding.firstElement}`,
    );
  }
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
    firstPair,
  );
}

/** The values, times `factor` (4/3 for one tensor of Algorithm 2, else 1). out f32 [length]. */
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

/** The sign vector S of one RHT: f32 ±1 [segmentLength] to `out`. */
export function drawSigns(
  out: Pointer,
  segmentLength: SegmentLength,
  key: NoiseKey,
): void {
  kernels().exports.signsF32(out, segmentLength, key[0], key[1]);
}

/**
 * Blockwise RHT in place: each segment of `x` becomes H · diag(signs) · segment, H orthonormal. Called
 * inside `arena.scope`, as its inverse is.
 *
 * Shapes:   x f32 [length], length a multiple of segmentLength; signs f32 [segmentLength]
 * Source:   Algorithm 3 of arXiv 2502.20586: signs before H
 */
export function hadamard(
  x: Pointer,
  length: number,
  segmentLength: SegmentLength,
  signs: Pointer,
): void {
  const { arena } = kernels();
  const norm = arena.allocF32(segmentLength);
  arena.f32(norm, segmentLength).fill(1 / Math.sqrt(segmentLength));
  transform(x, length, segmentLength, signs, norm);
}

/** Undoes `hadamard`: diag(signs) · H · segment. */
export function hadamardInverse(
  x: Pointer,
  length: number,
  segmentLength: SegmentLength,
  signs: Pointer,
): void {
  const { arena } = kernels();
  const ones = arena.allocF32(segmentLength);
  arena.f32(ones, segmentLength).fill(1);
  const norm = arena.allocF32(segmentLength);
  const signOf = arena.f32(signs, segmentLength);
  arena
    .f32(norm, segmentLength)
    .set(signOf.map((sign) => sign / Math.sqrt(segmentLength)));
  transform(x, length, segmentLength, ones, norm);
}

function transform(
  x: Pointer,
  length: number,
  segmentLength: SegmentLength,
  before: Pointer,
  after: Pointer,
): void {
  checkMultiple("length", length, segmentLength);
  checkAligned("x", x);
  kernels().exports.hadamardF32(x, length, segmentLength, before, after);
}

/** Bytes of one of ggml's blocks. */
export const GGML_BLOCK_BYTES = 17;

/** ggml's blocks of MXFP4 elements and scales. out u8 [17 · blocks]. */
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
