/** Sections of a conversion whose input is blocks: to floats, or to blocks in another layout. */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { GGML_BLOCK_BYTES } from "../../kernels/mxfp4.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { DecodedDtype } from "../dtype.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import { heldBytes, type Hold, type HoldPool } from "../stream/hold-pool.ts";
import type { Packed } from "./block-format.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import {
  type DecodingScheme,
  fromGgml,
  storePiece,
  toGgml,
  unpackBlocks,
} from "./block-pieces.ts";
import { type Lost, type Watch, watchScales } from "./nonfinite.ts";
import { type Piece, pieceCount, pieceOf, type Rows } from "./block-rows.ts";
import type { PackedTensor } from "./packed-tensors.ts";
import { scaleBytes, withHeld } from "./quantized-sections.ts";

/** A source of blocks: its pieces have `groupBytes` per block, and contain or know all that decoding needs. */
export type BlockSource = {
  groupBytes: number;
  /** Inside `arena.scope`. */
  load: (bytes: Uint8Array, firstBlock: number) => Packed;
  /** Frees what is held. */
  release?: () => void;
};

/** ggml's blocks, which contain their scales. */
export const GGML_SOURCE: BlockSource = {
  groupBytes: GGML_BLOCK_BYTES,
  load: fromGgml,
};

/** Reads the second part of a pair; the first is in `hold`, complete. */
export function pairSource(
  { layout }: Pick<PackedTensor, "layout">,
  hold: Hold,
  scalesLast: boolean,
): BlockSource {
  const { arena } = kernels();
  const { elementBytes } = BLOCK_FORMATS[layout.format];
  const first = () => heldBytes(hold);
  const release = () => hold.pool.release(hold.index);
  if (scalesLast) {
    return {
      groupBytes: 1,
      load(bytes, block) {
        const start = block * elementBytes;
        const end = start + bytes.length * elementBytes;
        return {
          elements: arena.copyIn(first().subarray(start, end)),
          scales: arena.copyIn(bytes),
        };
      },
      release,
    };
  }
  return {
    groupBytes: elementBytes,
    load(bytes, block) {
      const end = block + bytes.length / elementBytes;
      return {
        elements: arena.copyIn(bytes),
        scales: arena.copyIn(first().subarray(block, end)),
      };
    },
    release,
  };
}

/** A section that outputs what `convert` returns for each piece. */
function piecewise(
  rows: Rows,
  { groupBytes, load, release }: BlockSource,
  convert: (packed: Packed, piece: Piece) => Uint8Array<ArrayBuffer>,
): Section {
  const pieces = pieceCount(rows);
  return {
    pieces,
    pieceBytes: (index) =>
      (pieceOf(rows, index).count / BLOCK_SIZE) * groupBytes,
    *convert(index, bytes) {
      const piece = pieceOf(rows, index);
      yield kernels().arena.scope(() =>
        convert(load(bytes, piece.start / BLOCK_SIZE), piece),
      );
      if (index === pieces - 1) release?.();
    },
  };
}

export function decoded(
  { rows, layout }: PackedTensor,
  source: BlockSource,
  dtype: DecodedDtype,
  scheme: DecodingScheme,
  lost?: Lost,
): Section {
  const out = new OutputBuffer();
  const format = BLOCK_FORMATS[layout.format];
  return piecewise(rows, source, (packed, piece) => {
    const x = unpackBlocks(packed, piece.count, format, scheme);
    return storePiece(x, piece, dtype, out, lost);
  });
}

/** Number of elements in each piece of `decoded`. */
export function decodedElements(rows: Rows): (piece: number) => number {
  return (index) => {
    const piece = pieceOf(rows, index);
    return piece.rows * piece.real;
  };
}

/** Converts to ggml's blocks, including the rows' padding. */
export function interleaved(
  tensor: Pick<PackedTensor, "name" | "shape" | "rows">,
  source: BlockSource,
  watch?: Watch,
): Section {
  const { arena } = kernels();
  const out = new OutputBuffer();
  return piecewise(tensor.rows, source, (packed, { start, count }) => {
    const scales = arena.u8(packed.scales, count / BLOCK_SIZE);
    watchScales(tensor, scales, start / BLOCK_SIZE, watch);
    return out.copy(toGgml(packed, count));
  });
}

/** Converts ggml's blocks to elements, followed by the scales, which are held until then. */
export function separated(
  tensor: PackedTensor,
  pool: HoldPool,
  index: number,
  watch?: Watch,
): Section {
  const { rows, layout } = tensor;
  const { arena } = kernels();
  const { elementBytes } = BLOCK_FORMATS[layout.format];
  const out = new OutputBuffer();
  const hold = { pool, index, bytes: scaleBytes(rows) };
  const section = piecewise(rows, GGML_SOURCE, (packed, { start, count }) => {
    const blocks = count / BLOCK_SIZE;
    const scales = arena.u8(packed.scales, blocks);
    watchScales(tensor, scales, start / BLOCK_SIZE, watch);
    heldBytes(hold).set(scales, start / BLOCK_SIZE);
    return out.copy(arena.u8(packed.elements, blocks * elementBytes));
  });
  return withHeld(section, hold);
}
