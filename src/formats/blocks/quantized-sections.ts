/** Sections of a conversion that quantize. */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import type { NoiseKey } from "../../kernels/noise.ts";
import { Q8_BLOCK_BYTES, quantizeQ8 } from "../../kernels/q8.ts";
import { kernels } from "../../kernels/runtime.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import type { FloatDtype } from "../dtype.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import { loadPiece, pack, type Told, toGgml } from "./block-pieces.ts";
import type { Lost } from "./nonfinite.ts";
import { inputBytes, pieceCount, pieceOf, type Rows } from "./block-rows.ts";
import type { Scheme } from "../../api/scheme.ts";

/** A tensor's elements as they come, and its scales, held back until then, behind them. */
export function quantized(
  rows: Rows,
  dtype: FloatDtype,
  scheme: Scheme,
  key: NoiseKey,
  pool: HoldPool,
  hold: number,
  told?: Told,
): Section {
  const { arena } = kernels();
  const { elementBytes } = BLOCK_FORMATS[scheme.format];
  const out = new OutputBuffer();
  const pieces = pieceCount(rows);
  const held = () => pool.bytes(hold, scaleBytes(rows));
  return {
    release: () => out.release(),
    pieces,
    pieceBytes: (index) => inputBytes(rows, index, dtype),
    *convert(index, bytes) {
      const piece = pieceOf(rows, index);
      const { start, count } = piece;
      yield arena.scope(() => {
        const x = loadPiece(bytes, dtype, piece);
        const { elements, scales } = pack(x, piece, scheme, key, told);
        held().set(arena.u8(scales, count / BLOCK_SIZE), start / BLOCK_SIZE);
        return out.copy(
          arena.u8(elements, (count / BLOCK_SIZE) * elementBytes),
        );
      });
      if (index < pieces - 1) return;
      yield held();
      pool.release(hold);
    },
  };
}

/** ggml's blocks carry their scales, so nothing is held back. */
export function quantizedGgml(
  rows: Rows,
  dtype: FloatDtype,
  scheme: Scheme,
  key: NoiseKey,
  told?: Told,
): Section {
  const { arena } = kernels();
  const out = new OutputBuffer();
  return {
    release: () => out.release(),
    pieces: pieceCount(rows),
    pieceBytes: (index) => inputBytes(rows, index, dtype),
    convert(index, bytes) {
      const piece = pieceOf(rows, index);
      return [
        arena.scope(() => {
          const x = loadPiece(bytes, dtype, piece);
          const packed = pack(x, piece, scheme, key, told);
          return out.copy(toGgml(packed, piece.count));
        }),
      ];
    },
  };
}

/** ggml's blocks of Q8_0. Rows are whole blocks, which GGUF has no others of. */
export function quantizedQ8(
  rows: Rows,
  dtype: FloatDtype,
  lost?: Lost,
): Section {
  const { arena } = kernels();
  const buffer = new OutputBuffer();
  return {
    pieces: pieceCount(rows),
    pieceBytes: (index) => inputBytes(rows, index, dtype),
    convert(index, bytes) {
      const piece = pieceOf(rows, index);
      const outBytes = (piece.count / BLOCK_SIZE) * Q8_BLOCK_BYTES;
      return [
        arena.scope(() => {
          const out = arena.alloc(outBytes);
          quantizeQ8(out, loadPiece(bytes, dtype, piece), piece.count);
          if (lost && hasNonfiniteScale(arena.u16(out, outBytes / 2))) lost();
          return buffer.copy(arena.u8(out, outBytes));
        }),
      ];
    },
  };
}

/** Of blocks of Q8_0, whose f16 scales are infinite where a value is beyond 127 times the largest. */
function hasNonfiniteScale(blocks: Uint16Array): boolean {
  for (let at = 0; at < blocks.length; at += Q8_BLOCK_BYTES / 2)
    if ((blocks[at]! & 0x7c00) === 0x7c00) return true;
  return false;
}

/** Of all scales of a tensor, which are held back. */
export function scaleBytes({ rows, padded }: Rows): number {
  return (rows * padded) / BLOCK_SIZE;
}
