/** A section of a conversion that takes floats and gives floats. */
import type { Pointer } from "../../kernels/arena.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { DecodedDtype, FloatDtype } from "../dtype.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import { loadPiece, storePiece } from "./block-pieces.ts";
import type { Lost } from "./nonfinite.ts";
import { inputBytes, pieceCount, pieceOf, type Rows } from "./block-rows.ts";

/** As `to`, with what `change` makes of each piece, f32 [count] at `x`. */
export function refloated(
  rows: Rows,
  from: FloatDtype,
  to: DecodedDtype,
  lost?: Lost,
  change: (x: Pointer, count: number) => void = () => {},
): Section {
  const out = new OutputBuffer();
  return {
    release: () => out.release(),
    pieces: pieceCount(rows),
    pieceBytes: (index) => inputBytes(rows, index, from),
    convert(index, bytes) {
      const piece = pieceOf(rows, index);
      return [
        kernels().arena.scope(() => {
          const x = loadPiece(bytes, from, piece);
          change(x, piece.count);
          return storePiece(x, piece, to, out, lost);
        }),
      ];
    },
  };
}
