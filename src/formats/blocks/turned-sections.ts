/**
 * Sections of a conversion that transpose: input is a weight stored [in, out], or experts [E, in, out]; output is
 * [out, in].
 */
import type { NoiseKey } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { Scheme } from "../../api/scheme.ts";
import type { FloatDtype } from "../dtype.ts";
import type { Section } from "../stream/conversion.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import { packBlocks, type PieceListeners } from "./block-pieces.ts";
import type { Lost } from "./nonfinite.ts";
import type { PieceWriter } from "./quantized-sections.ts";
import { TurnedSlabs } from "./turned-slabs.ts";

/**
 * Quantizes. Elements are held until their matrix is complete, and all scales until the end, in two holds of `pool`
 * from number `hold` on. Requires: in % 32 == 0
 */
export function quantizedTurned(
  shape: readonly number[],
  dtype: FloatDtype,
  scheme: Scheme,
  key: NoiseKey,
  pool: HoldPool,
  hold: number,
  told?: PieceListeners,
): Section {
  const { arena } = kernels();
  const turned = new TurnedSlabs(shape, dtype);
  const { slabs, columns, matrices } = turned;
  const { elementBytes } = BLOCK_FORMATS[scheme.format];
  const matrixBlocks = slabs * columns;
  const elements = () => pool.bytes(hold, matrixBlocks * elementBytes);
  const scales = () => pool.bytes(hold + 1, matrices * matrixBlocks);
  const oneByOne = scheme.rounding === "stochastic";
  return {
    pieces: turned.pieces,
    pieceBytes: (index) => turned.pieceBytes(index),
    *convert(index, bytes) {
      const { matrix, slab } = turned.place(index);
      const [all, exponents] = [elements(), scales()];
      turned.turn(index, bytes, oneByOne, (x, piece, first) => {
        const packed = packBlocks(x, piece, scheme, key, told);
        const count = piece.count / 32;
        const codes = arena.u8(packed.elements, count * elementBytes);
        const own = arena.u8(packed.scales, count);
        for (let i = 0; i < count; i++) {
          const at = (first + i) * slabs + slab;
          const from = i * elementBytes;
          all.set(codes.subarray(from, from + elementBytes), at * elementBytes);
          exponents[matrix * matrixBlocks + at] = own[i]!;
        }
      });
      if (slab < slabs - 1) return;
      yield elements();
      if (matrix < matrices - 1) return;
      pool.release(hold);
      yield scales();
      pool.release(hold + 1);
    },
  };
}

/**
 * Writes each row's stretch of a slab with `write`, `blockBytes` per 32 elements; a matrix is held until it is
 * complete.
 */
export function convertedTurned(
  shape: readonly number[],
  dtype: FloatDtype,
  { write, blockBytes, isNoisy }: PieceWriter,
  pool: HoldPool,
  hold: number,
  lost?: Lost,
): Section {
  const turned = new TurnedSlabs(shape, dtype);
  const { slabs, columns, matrices } = turned;
  const rows = shape.at(-2)!;
  const rowBytes = (blockBytes * rows) / 32;
  const held = () => pool.bytes(hold, rowBytes * columns);
  return {
    pieces: turned.pieces,
    pieceBytes: (index) => turned.pieceBytes(index),
    *convert(index, bytes) {
      const { matrix, slab } = turned.place(index);
      const stretch = (blockBytes * turned.height(index)) / 32;
      const all = held();
      turned.turn(index, bytes, isNoisy, (x, piece, first) => {
        const written = write(x, piece, lost);
        const count = piece.count / turned.height(index);
        for (let i = 0; i < count; i++)
          all.set(
            written.subarray(i * stretch, (i + 1) * stretch),
            (first + i) * rowBytes + slab * blockBytes,
          );
      });
      if (slab < slabs - 1) return;
      yield held();
      if (matrix === matrices - 1) pool.release(hold);
    },
  };
}
