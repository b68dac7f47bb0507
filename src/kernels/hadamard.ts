/** The blockwise random Hadamard transform, and its signs. */
import type { SegmentLength } from "../api/scheme.ts";
import type { Pointer } from "./arena.ts";
import { checkAligned, checkMultiple } from "./check.ts";
import type { NoiseKey } from "./noise.ts";
import { kernels } from "./runtime.ts";

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
export function hadamardTransform(
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

/** Undoes `hadamardTransform`: diag(signs) · H · segment. */
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
