/** Quantizes one block step by step: rotated, scaled, rounded, decoded. */
import type { Scheme } from "../../api/scheme.ts";
import { BLOCK_FORMATS } from "../../formats/blocks/block-formats.ts";
import {
  loadPiece,
  packBlocks,
  rotate,
  roundingKey,
  unpackBlocks,
} from "../../formats/blocks/block-pieces.ts";
import type { FloatDtype } from "../../formats/dtype.ts";
import { type Piece, rowsOf } from "../../formats/blocks/block-rows.ts";
import type { TensorRange } from "../../formats/tensor.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { kernels } from "../../kernels/runtime.ts";
import { elementsOf, type LoadedPiece } from "./loaded-pieces.ts";

/** One element of the block. */
type Step = {
  x: number;
  /** After the rotation. */
  rotated: number;
  /** Prescaled and divided by the scale: the input of rounding. */
  scaled: number;
  /** The rounded value on the grid. */
  element: number;
  decoded: number;
};

export type Walk = { name: string; scale: number; steps: Step[] };

/** Length of a block here: a whole segment of 64. */
export const WALK_LENGTH = 64;

/** The values that are shown: block `block` of `blocks` in the tensor's front. */
export type Walked = {
  block: number;
  blocks: number;
  row: number;
  /** First and last column; the last block of a row may be shorter than 64. */
  from: number;
  to: number;
};

/** Block indices beyond `piece`, whose rows are padded to whole blocks, wrap around. */
export function walkedBlock(
  { count }: Piece,
  columns: number,
  block: number,
): Walked {
  const blocks = count / WALK_LENGTH;
  const own = block % blocks;
  const perRow = Math.ceil(columns / WALK_LENGTH);
  const from = (own % perRow) * WALK_LENGTH;
  const to = Math.min(from + WALK_LENGTH, columns) - 1;
  return { block: own, blocks, row: Math.floor(own / perRow), from, to };
}

/** Quantizes a block of 64 of the tensor's front, with the same random numbers as in the file. */
export function walk(
  { piece, bytes }: LoadedPiece,
  { dtype, shape }: TensorRange<FloatDtype>,
  name: string,
  scheme: Scheme,
  position: number,
  { block, row, from, to }: Walked,
): Walk {
  const { arena } = kernels();
  // In a file rows are padded by the scheme, and random numbers are indexed by padded positions.
  const start = row * rowsOf(shape, scheme.hadamard).padded + from;
  const at = block * WALK_LENGTH;
  const count = to - from + 1;
  return arena.scope(() => {
    const x = loadPiece(bytes, dtype, piece);
    const part = (pointer: number) => arena.f32(pointer, count).slice();
    const own = { start, count, rows: 1, real: count };
    const before = part(x + 4 * at);
    const values = arena.allocZeroedF32(WALK_LENGTH);
    arena.f32(values, count).set(before);
    // A row that ends within a block or segment is padded, as in a file.
    const length =
      scheme.hadamard > 0
        ? WALK_LENGTH
        : Math.ceil(count / BLOCK_SIZE) * BLOCK_SIZE;
    const turned = arena.copyIn(arena.f32(values, length));
    rotate(turned, length, scheme);
    const rotated = arena.f32(turned, length).slice();
    const stretch = { ...own, count: length };
    const packed = packBlocks(
      values,
      stretch,
      scheme,
      roundingKey(scheme.seed, position),
    );
    const format = BLOCK_FORMATS[scheme.format];
    const elements = elementsOf(packed, length, format);
    const scales = arena.u8(packed.scales, length / 32).slice();
    const decoded = arena.f32(
      unpackBlocks(packed, length, format, scheme),
      length,
    );
    const steps = Array.from(before, (value, i): Step => {
      const scale = 2 ** (scales[i >> 5]! - 127);
      return {
        x: value,
        rotated: rotated[i]!,
        scaled: (rotated[i]! * scheme.prescale) / scale,
        element: elements[i]!,
        decoded: decoded[i]!,
      };
    });
    return { name, scale: 2 ** (scales[0]! - 127), steps };
  });
}
