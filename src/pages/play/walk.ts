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
import type { TensorRange } from "../../formats/tensor.ts";
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

/** One stretch of 64 of the tensor's front, with the noise that it has in the file. */
export function walk(
  { piece, bytes }: LoadedPiece,
  { dtype }: TensorRange<FloatDtype>,
  name: string,
  scheme: Scheme,
  position: number,
  block: number,
): Walk {
  const { arena } = kernels();
  const row = piece.count / piece.rows;
  const stretches = Math.max(1, Math.floor(row / WALK_LENGTH));
  const at = (block % stretches) * WALK_LENGTH;
  const count = Math.min(WALK_LENGTH, row - at);
  return arena.scope(() => {
    const x = loadPiece(bytes, dtype, piece);
    const part = (pointer: number) => arena.f32(pointer, count).slice();
    const own = { start: piece.start + at, count, rows: 1, real: count };
    const before = part(x + 4 * at);
    const padded = Math.ceil(count / WALK_LENGTH) * WALK_LENGTH;
    const values = arena.allocZeroedF32(padded);
    arena.f32(values, count).set(before);
    // A row that ends within a segment is padded, as in a file.
    const length = scheme.hadamard > 0 ? padded : count;
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
