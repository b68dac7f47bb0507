/** Sections of a conversion that decode blocks. */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { GGML_BLOCK_BYTES } from "../../kernels/mxfp4.ts";
import { kernels } from "../../kernels/runtime.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import type { DecodedDtype } from "../dtype.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import type { Packed } from "./block-format.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import {
  type DecodingScheme,
  fromGgml,
  storePiece,
  unpack,
} from "./block-pieces.ts";
import { pieceCount, pieceOf } from "./block-rows.ts";
import type { PackedTensor } from "./packed-tensors.ts";

/** Pieces of `groupBytes` a block that carry all they need. */
function decoded(
  { rows, layout }: PackedTensor,
  dtype: DecodedDtype,
  scheme: DecodingScheme,
  groupBytes: number,
  load: (bytes: Uint8Array, firstBlock: number) => Packed,
): Section {
  const out = new OutputBuffer();
  const format = BLOCK_FORMATS[layout.format];
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
          const x = unpack(packed, piece.count, format, scheme);
          return storePiece(x, piece, dtype, out);
        }),
      ];
    },
  };
}

/** ggml's blocks, which carry their scales. */
export function decodedGgml(
  packed: PackedTensor,
  dtype: DecodedDtype,
  scheme: DecodingScheme,
): Section {
  return decoded(packed, dtype, scheme, GGML_BLOCK_BYTES, fromGgml);
}

/** The second part of a pair, with the first in `hold`. */
export function decodedPair(
  packed: PackedTensor,
  dtype: DecodedDtype,
  scheme: DecodingScheme,
  hold: { pool: HoldPool; index: number; bytes: number },
  scalesLast: boolean,
): Section {
  const { arena } = kernels();
  const { elementBytes } = BLOCK_FORMATS[packed.layout.format];
  const first = () => hold.pool.bytes(hold.index, hold.bytes);
  const section = scalesLast
    ? decoded(packed, dtype, scheme, 1, (bytes, block) => {
        const start = block * elementBytes;
        const end = start + bytes.length * elementBytes;
        return {
          elements: arena.copyIn(first().subarray(start, end)),
          scales: arena.copyIn(bytes),
        };
      })
    : decoded(packed, dtype, scheme, elementBytes, (bytes, block) => {
        const end = block + bytes.length / elementBytes;
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
