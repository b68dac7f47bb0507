/** Sections of a conversion that quantize. */
import type { Pointer } from "../../kernels/arena.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { GGML_BLOCK_BYTES } from "../../kernels/mxfp4.ts";
import type { NoiseKey } from "../../kernels/noise.ts";
import { Q8_BLOCK_BYTES, quantizeQ8 } from "../../kernels/q8.ts";
import { kernels } from "../../kernels/runtime.ts";
import { canonicalizeNaN } from "../../kernels/vector.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import {
  type DecodedDtype,
  dtypeBytes,
  type FloatDtype,
  overflows,
  storeFloats,
} from "../dtype.ts";
import { heldBytes, type Hold, type HoldPool } from "../stream/hold-pool.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import { packBlocks, type PieceListeners, toGgml } from "./block-pieces.ts";
import type { Piece, Rows } from "./block-rows.ts";
import type { Lost } from "./nonfinite.ts";
import { floatPieces } from "./float-sections.ts";
import type { Scheme } from "../../api/scheme.ts";

/** Outputs the elements of the floats that `floats` loads, followed by their scales, which are in `hold` until then. */
export function quantizedFloats(
  floats: (write: PieceWriter["write"]) => Section,
  scheme: Scheme,
  key: NoiseKey,
  hold: Hold,
  told?: PieceListeners,
): Section {
  const out = new OutputBuffer();
  const { elementBytes } = BLOCK_FORMATS[scheme.format];
  const section = floats((x, piece) => {
    const { arena } = kernels();
    const blocks = piece.count / BLOCK_SIZE;
    const { elements, scales } = packBlocks(x, piece, scheme, key, told);
    heldBytes(hold).set(arena.u8(scales, blocks), piece.start / BLOCK_SIZE);
    return out.copy(arena.u8(elements, blocks * elementBytes));
  });
  return { ...withHeld(section, hold), release: () => out.release() };
}

/** `section`, followed by the held bytes after its last piece. */
export function withHeld(section: Section, hold: Hold): Section {
  return {
    ...section,
    *convert(index, bytes) {
      yield* section.convert(index, bytes);
      if (index < section.pieces - 1) return;
      yield heldBytes(hold);
      hold.pool.release(hold.index);
    },
  };
}

export function quantized(
  rows: Rows,
  dtype: FloatDtype,
  scheme: Scheme,
  key: NoiseKey,
  pool: HoldPool,
  index: number,
  told?: PieceListeners,
): Section {
  return quantizedFloats(
    (write) => floatPieces(rows, dtype, write),
    scheme,
    key,
    { pool, index, bytes: scaleBytes(rows) },
    told,
  );
}

/** Writes pieces in a layout whose blocks are self-contained, so that nothing is held. */
export type PieceWriter = {
  /** Bytes per 32 elements. */
  blockBytes: number;
  /** Whether the bytes depend on the piece's position in the tensor. */
  isNoisy: boolean;
  /** The bytes for f32 [count] at `x`; a view. Inside `arena.scope`. */
  write: (x: Pointer, piece: Piece, lost?: Lost) => Uint8Array<ArrayBuffer>;
};

/** ggml's blocks of MXFP4. */
export function ggmlBlocks(scheme: Scheme, key: NoiseKey): PieceWriter {
  return {
    blockBytes: GGML_BLOCK_BYTES,
    isNoisy: scheme.rounding === "stochastic",
    write: (x, piece, lost) =>
      toGgml(packBlocks(x, piece, scheme, key, { lost }), piece.count),
  };
}

/** ggml's blocks of Q8_0. */
export const Q8_BLOCKS: PieceWriter = {
  blockBytes: Q8_BLOCK_BYTES,
  isNoisy: false,
  write(x, { count }, lost) {
    const { arena } = kernels();
    const bytes = (count / BLOCK_SIZE) * Q8_BLOCK_BYTES;
    const out = arena.alloc(bytes);
    quantizeQ8(out, x, count);
    if (lost && hasNonfiniteScale(arena.u16(out, bytes / 2))) lost();
    return arena.u8(out, bytes);
  },
};

/** Plain floats. */
export function floatBlocks(dtype: DecodedDtype): PieceWriter {
  return {
    blockBytes: dtypeBytes(dtype, BLOCK_SIZE),
    isNoisy: false,
    write: (x, { count }, lost) => {
      canonicalizeNaN(x, count);
      if (lost && overflows(dtype, x, count)) lost();
      return storeFloats(dtype, x, count);
    },
  };
}

/** Requires: rows of whole blocks, unless it is written as floats */
export function converted(
  rows: Rows,
  dtype: FloatDtype,
  { write }: PieceWriter,
  lost?: Lost,
): Section {
  const out = new OutputBuffer();
  const section = floatPieces(rows, dtype, (x, piece) =>
    out.copy(write(x, piece, lost)),
  );
  return { ...section, release: () => out.release() };
}

/** Whether a Q8_0 block has a non-finite f16 scale, which values beyond 127 times the largest f16 cause. */
function hasNonfiniteScale(blocks: Uint16Array): boolean {
  for (let at = 0; at < blocks.length; at += Q8_BLOCK_BYTES / 2)
    if ((blocks[at]! & 0x7c00) === 0x7c00) return true;
  return false;
}

/** Bytes of all scales of a tensor, which are held until its end. */
export function scaleBytes({ rows, padded }: Rows): number {
  return (rows * padded) / BLOCK_SIZE;
}
