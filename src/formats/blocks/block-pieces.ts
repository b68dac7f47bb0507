/**
 * Quantizes and dequantizes pieces of a tensor in the kernels' memory.
 *
 *   x f32 [count]  ↔  elements u8, as the format says
 *                     scales u8 [count / 32]    E8M0: 2^(byte − 127), 255 is NaN
 *
 * Noise is indexed in the whole padded tensor, so the bytes do not depend on how it is cut. Called inside
 * `arena.scope`.
 */
import type { Pointer } from "../../kernels/arena.ts";
import type { Scheme, SegmentLength } from "../../api/scheme.ts";
import {
  drawSigns,
  hadamardTransform,
  hadamardInverse,
} from "../../kernels/hadamard.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { GGML_BLOCK_BYTES, packGgml, unpackGgml } from "../../kernels/mxfp4.ts";
import { type NoiseKey, noiseKey, PURPOSE } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import { largestBits, largestByte } from "../../kernels/statistics.ts";
import { canonicalizeNaN } from "../../kernels/vector.ts";
import type { OutputBuffer } from "../stream/conversion.ts";
import {
  type DecodedDtype,
  dtypeBytes,
  type FloatDtype,
  loadFloats,
  overflows,
  storeFloats,
} from "../dtype.ts";
import { compareNames } from "../tensor.ts";
import type { BlockFormat, Packed } from "./block-format.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import type { Piece } from "./block-rows.ts";
import type { Lost } from "./nonfinite.ts";

/** f32 bits. */
const INFINITY_BITS = 0x7f800000;
/** Sums of 256 values below this, as in the longest rotation, times 4/3, are finite in f32. */
const SURELY_FINITE = 2 ** 119;

/** The part of a scheme that decoding needs. */
export type DecodingScheme = Rotation & Pick<Scheme, "prescale">;

type Rotation = Pick<Scheme, "hadamard" | "seed">;

/** The noise key of the tensor at `position` among all sorted names; which of them are quantized does not affect it. */
export function roundingKey(seed: number, position: number): NoiseKey {
  return noiseKey(seed, PURPOSE.fileRounding, position);
}

/** Each tensor's position among the sorted names, which selects its noise, whatever the order in the file. */
export function sortedPositions(
  tensors: Iterable<{ name: string }>,
): Map<string, number> {
  const names = Array.from(tensors, ({ name }) => name);
  return new Map(names.sort(compareNames).map((name, i) => [name, i]));
}

/** Loads a piece as f32 [count], rows padded with zeros, from little-endian `bytes`. */
export function loadPiece(
  bytes: Uint8Array,
  dtype: FloatDtype,
  { rows, real, count }: Piece,
): Pointer {
  const { arena } = kernels();
  const x = arena.allocF32(count);
  loadFloats(x, dtype, bytes);
  const padded = count / rows;
  if (padded === real) return x;
  const values = arena.f32(x, count);
  // Backwards, so that no row is overwritten before it has moved.
  for (let row = rows - 1; row >= 0; row--) {
    const start = row * padded;
    values.copyWithin(start, row * real, (row + 1) * real);
    values.fill(0, start + real, start + padded);
  }
  return x;
}

/** Called for each piece packed without rotation, with f32 [count] and its decoded values. Inside `arena.scope`. */
export type Observe = (x: Pointer, decoded: Pointer, count: number) => void;

/** Callbacks for pieces. */
export type PieceListeners = {
  observe?: Observe | undefined;
  lost?: Lost | undefined;
};

/** Quantizes f32 [count] at `x`; a rotation overwrites `x`. */
export function packBlocks(
  x: Pointer,
  { start, count }: Piece,
  scheme: Scheme,
  key: NoiseKey,
  { observe, lost }: PieceListeners = {},
): Packed {
  const { arena } = kernels();
  const format = BLOCK_FORMATS[scheme.format];
  const blocks = count / BLOCK_SIZE;
  const packed = {
    elements: arena.alloc(blocks * format.elementBytes),
    scales: arena.alloc(blocks),
  };
  rotate(x, count, scheme);
  const { rounding: mode } = scheme;
  const rounding =
    mode === "stochastic" ? { mode, key, firstElement: start } : { mode };
  format.quantize(packed, x, count, { ...scheme, rounding });
  if (observe)
    arena.scope(() =>
      observe(x, unpackBlocks(packed, count, format, scheme), count),
    );
  if (lost && decodesToNonfinite(packed, count, scheme)) lost();
  return packed;
}

/** Only blocks with the largest scales can decode to infinity, so few have to be decoded. */
function decodesToNonfinite(
  packed: Packed,
  count: number,
  scheme: Scheme,
): boolean {
  const format = BLOCK_FORMATS[scheme.format];
  const largest = largestByte(packed.scales, count / BLOCK_SIZE);
  if (format.max * 2 ** (largest - 127) < SURELY_FINITE) return false;
  return kernels().arena.scope(
    () =>
      largestBits(unpackBlocks(packed, count, format, scheme), count) >=
      INFINITY_BITS,
  );
}

/** Dequantizes to f32 [count], times 4/3 if the values were prescaled by 3/4, with the RHT inverted. */
export function unpackBlocks(
  packed: Packed,
  count: number,
  format: BlockFormat,
  scheme: DecodingScheme,
): Pointer {
  const x = kernels().arena.allocF32(count);
  const factor = 1 / scheme.prescale;
  format.dequantize(x, packed, count, factor);
  rotateBack(x, count, scheme);
  return x;
}

/** A piece of `count` elements as ggml's blocks; a view. */
export function toGgml(
  { elements, scales }: Packed,
  count: number,
): Uint8Array<ArrayBuffer> {
  const { arena } = kernels();
  const blocks = count / BLOCK_SIZE;
  const out = arena.alloc(blocks * GGML_BLOCK_BYTES);
  packGgml(out, elements, scales, blocks);
  return arena.u8(out, blocks * GGML_BLOCK_BYTES);
}

/** The inverse of `toGgml`; copies to the arena. */
export function fromGgml(bytes: Uint8Array): Packed {
  const { arena } = kernels();
  const blocks = bytes.length / GGML_BLOCK_BYTES;
  const elements = arena.alloc((blocks * BLOCK_SIZE) / 2);
  const scales = arena.alloc(blocks);
  unpackGgml(elements, scales, arena.copyIn(bytes), blocks);
  return { elements, scales };
}

/** Stores f32 [count] at `x` as little-endian `dtype`, without padding. Overwrites `x`. */
export function storePiece(
  x: Pointer,
  piece: Piece,
  dtype: DecodedDtype,
  buffer: OutputBuffer,
  lost?: Lost,
): Uint8Array<ArrayBuffer> {
  const length = piece.rows * piece.real;
  withoutPadding(x, piece);
  // Arithmetic on a NaN may leave any of its bit patterns.
  canonicalizeNaN(x, length);
  if (lost && overflows(dtype, x, length)) lost();
  const out = buffer.take(dtypeBytes(dtype, length));
  return storeFloats(dtype, x, length, out);
}

/** Removes the padding of rows in place; gives f32 [rows · real]. */
export function withoutPadding(
  x: Pointer,
  { rows, real, count }: Piece,
): Pointer {
  const padded = count / rows;
  if (padded === real) return x;
  const values = kernels().arena.f32(x, count);
  for (let row = 1; row < rows; row++) {
    values.copyWithin(row * real, row * padded, row * padded + real);
  }
  return x;
}

/** Applies the RHT that all tensors of a file share. */
export function rotate(
  x: Pointer,
  count: number,
  { hadamard: segmentLength, seed }: Rotation,
): void {
  if (segmentLength === 0) return;
  hadamardTransform(x, count, segmentLength, signs(segmentLength, seed));
}

export function rotateBack(
  x: Pointer,
  count: number,
  { hadamard: segmentLength, seed }: Rotation,
): void {
  if (segmentLength === 0) return;
  hadamardInverse(x, count, segmentLength, signs(segmentLength, seed));
}

function signs(segmentLength: SegmentLength, seed: number): Pointer {
  const pointer = kernels().arena.allocF32(segmentLength);
  drawSigns(pointer, segmentLength, noiseKey(seed, PURPOSE.fileSigns));
  return pointer;
}
