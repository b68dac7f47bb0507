/** Sections of a conversion whose input is floats, piece by piece. */
import type { Pointer } from "../../kernels/arena.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { DecodedDtype, FloatDtype } from "../dtype.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import { loadPiece, storePiece } from "./block-pieces.ts";
import type { Lost } from "./nonfinite.ts";
import {
  inputBytes,
  type Piece,
  pieceCount,
  pieceOf,
  type Rows,
} from "./block-rows.ts";

/** A section that outputs what `write` returns for each piece, f32 [count] at `x`. Inside `arena.scope`. */
export function floatPieces(
  rows: Rows,
  dtype: FloatDtype,
  write: (x: Pointer, piece: Piece) => Uint8Array,
): Section {
  return {
    pieces: pieceCount(rows),
    pieceBytes: (index) => inputBytes(rows, index, dtype),
    convert(index, bytes) {
      const piece = pieceOf(rows, index);
      return [
        kernels().arena.scope(() =>
          write(loadPiece(bytes, dtype, piece), piece),
        ),
      ];
    },
  };
}

/** A section that outputs each piece, f32 [count] at `x`, changed by `change`, as dtype `to`. */
export function refloated(
  rows: Rows,
  from: FloatDtype,
  to: DecodedDtype,
  lost?: Lost,
  change: (x: Pointer, count: number) => void = () => {},
): Section {
  const out = new OutputBuffer();
  const section = floatPieces(rows, from, (x, piece) => {
    change(x, piece.count);
    return storePiece(x, piece, to, out, lost);
  });
  return { ...section, release: () => out.release() };
}
