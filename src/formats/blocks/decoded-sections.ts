/** Sections of a conversion that decode MXFP4. */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { GGML_BLOCK_BYTES } from "../../kernels/mxfp4.ts";
import { kernels } from "../../kernels/runtime.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import type { DecodedDtype } from "../dtype.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import { BLOCK_BYTES, fromGgml } from "./layout.ts";
import {
  type DecodingScheme,
  type Packed,
  storePiece,
  unpack,
} from "./mxfp4.ts";
import { pieceCount, pieceOf, type Rows } from "./rows.ts";

/** Pieces of `groupBytes` a block that carry all they need. */
function decoded(
  rows: Rows,
  dtype: DecodedDtype,
  scheme: DecodingScheme,
  groupBytes: number,
  load: (bytes: Uint8Array, firstBlock: number) => Packed,
): Section {
  const out = new OutputBuffer();
  return {
    release: () => out.release(),
    pieces: pieceCount(rows),
    pieceBytes: (index) =>
      (pieceOf(rows, index).count / BLOCK_SIZE) * groupBytes,
    convert(index, bytes) {
      const piece = pieceOf(rows, index);
      return [
        kernels().arena.scope(() => {
          const packed = load(bytes, piece.start / BLOCK_SIZE);
          const x = unpack(packed, piece.count, scheme);
          return storePiece(x, piece, dtype, out);
        }),
      ];
    },
  };
}

/** ggml's blocks, which carry their scales. */
export function decodedGgml(
  rows: Rows,
  dtype: DecodedDtype,
  scheme: DecodingScheme,
): Section {
  return decoded(rows, dtype, scheme, GGML_BLOCK_BYTES, fromGgml);
}

/** The second part of a pair, with the first in `hold`. */
export function decodedPair(
  rows: Rows,
  dtype: DecodedDtype,
  scheme: DecodingScheme,
  hold: { pool: HoldPool; index: number; bytes: number },
  scalesLast: boolean,
): Section {
  const { arena } = kernels();
  const first = () => hold.pool.bytes(hold.index, hold.bytes);
  const section = scalesLast
    ? decoded(rows, dtype, scheme, 1, (bytes, block) => {
        const start = block * BLOCK_BYTES;
        const end = start + bytes.length * BLOCK_BYTES;
        return {
          elements: arena.copyIn(first().subarray(start, end)),
          scales: arena.copyIn(bytes),
        };
      })
    : decoded(rows, dtype, scheme, BLOCK_BYTES, (bytes, block) => {
        const end = block + bytes.length / BLOCK_BYTES;
        return {
          elements: arena.copyIn(bytes),
          scales: arena.copyIn(first().subarray(block, end)),
        };
      });
  return {
    ...section,
    *convert(index, bytes) {
      yield* section.convert(index, bytes);
      if (index === section.pieces - 1) hold.pool.release(hold.index);
    },
  };
}
