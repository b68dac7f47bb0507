/** One block, step by step: rotated, scaled, rounded, and back. */
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

/** One element of the block that is looked at. */
type Step = {
  x: number;
  /** After the rotation. */
  rotated: number;
  /** Times the prescale, over the scale: what is rounded. */
  scaled: number;
  /** Of the grid. */
  element: number;
  decoded: number;
};

export type Walk = { name: string; scale: number; steps: Step[] };

/** Of a walk: whole segments of 64. */
export const WALK_LENGTH = 64;

/** Which 64 values of a tensor are walked through: `block` of `blocks` in its front. */
export type Walked = {
  block: number;
  blocks: number;
  row: number;
  /** The first and last column; the last block of a row may have fewer than 64. */
  from: number;
  to: number;
};

/** A block behind the last of `piece`, whose rows are padded to whole blocks, counts from the first again. */
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

/** One block of 64 of the tensor's front, with the noise that it has in the file. */
export function walk(
  { piece, bytes }: LoadedPiece,
  { dtype, shape }: TensorRange<FloatDtype>,
  name: string,
  scheme: Scheme,
  position: number,
  { block, row, from, to }: Walked,
): Walk {
  const { arena } = kernels();
  // In a file rows are padded for their scheme, and noise goes by that.
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
    // A row that ends within a block or a segment is padded, as in a file.
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
