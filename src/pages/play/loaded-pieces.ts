/** Reads the front of a tensor in the pieces of file operations, and quantizes them. */
import { AppError } from "../../api/errors.ts";
import type { Scheme } from "../../api/scheme.ts";
import type { BlockFormat, Packed } from "../../formats/blocks/block-format.ts";
import { BLOCK_FORMATS } from "../../formats/blocks/block-formats.ts";
import {
  loadPiece,
  packBlocks,
  unpackBlocks,
  withoutPadding,
} from "../../formats/blocks/block-pieces.ts";
import {
  inputBytes,
  type Piece,
  pieceCount,
  pieceOf,
  rowsOf,
} from "../../formats/blocks/block-rows.ts";
import type { TensorFile } from "../../formats/containers/container.ts";
import type { FloatDtype } from "../../formats/dtype.ts";
import type { TensorRange } from "../../formats/tensor.ts";
import type { NoiseKey } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import { readTensorBytes } from "./local-files.ts";

export type LoadedPiece = { piece: Piece; bytes: Uint8Array };

/** The first pieces, at most `most`. */
export async function piecesOf(
  file: Blob,
  head: TensorFile,
  tensor: TensorRange<FloatDtype>,
  segmentLength: number,
  most: number,
): Promise<LoadedPiece[]> {
  const rows = rowsOf(tensor.shape, segmentLength);
  const count = Math.min(most, pieceCount(rows));
  if (count === 0)
    throw new AppError(
      "shape_mismatch",
      "Expected a tensor with elements, got an empty one",
    );
  const loaded: LoadedPiece[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    const length = inputBytes(rows, index, tensor.dtype);
    const bytes = await readTensorBytes(file, head, tensor, at, length);
    loaded.push({ piece: pieceOf(rows, index), bytes });
    at += length;
  }
  return loaded;
}

/** Calls `body` with the values of each piece before and after quantizing. */
export function eachPiece(
  pieces: readonly LoadedPiece[],
  dtype: FloatDtype,
  scheme: Scheme,
  key: NoiseKey,
  body: (
    before: Float32Array,
    after: Float32Array,
    elements: Float32Array,
    scales: Uint8Array,
  ) => void,
): void {
  const { arena } = kernels();
  const format = BLOCK_FORMATS[scheme.format];
  for (const { piece, bytes } of pieces) {
    arena.scope(() => {
      const length = piece.rows * piece.real;
      const before = withoutPadding(loadPiece(bytes, dtype, piece), piece);
      const packed = packBlocks(
        loadPiece(bytes, dtype, piece),
        piece,
        scheme,
        key,
      );
      const after = withoutPadding(
        unpackBlocks(packed, piece.count, format, scheme),
        piece,
      );
      const elements = elementsOf(packed, piece.count, format);
      body(
        arena.f32(before, length),
        arena.f32(after, length),
        elements,
        arena.u8(packed.scales, piece.count / 32),
      );
    });
  }
}

/** The elements as values of the grid: dequantized with scale 1. Requires an `arena.scope`. */
export function elementsOf(
  { elements }: Packed,
  count: number,
  format: BlockFormat,
): Float32Array {
  const { arena } = kernels();
  const scales = arena.alloc(count / 32);
  arena.u8(scales, count / 32).fill(127);
  const out = arena.allocF32(count);
  format.dequantize(out, { elements, scales }, count, 1);
  return arena.f32(out, count).slice();
}
