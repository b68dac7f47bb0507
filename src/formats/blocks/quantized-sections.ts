/** Sections of a conversion that quantize. */
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import type { NoiseKey } from "../../kernels/noise.ts";
import { Q8_BLOCK_BYTES, quantizeQ8 } from "../../kernels/q8.ts";
import { kernels } from "../../kernels/runtime.ts";
import { OutputBuffer, type Section } from "../stream/conversion.ts";
import type { FloatDtype } from "../dtype.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import { loadPiece, type Observe, pack, toGgml } from "./block-pieces.ts";
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
  observe?: Observe,
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
        const { elements, scales } = pack(x, piece, scheme, key, observe);
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
          return out.copy(toGgml(pack(x, piece, scheme, key), piece.count));
        }),
      ];
    },
  };
}

/** ggml's blocks of Q8_0. Rows are whole blocks, which GGUF has no others of. */
export function quantizedQ8(rows: Rows, dtype: FloatDtype): Section {
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
          return buffer.copy(arena.u8(out, outBytes));
        }),
      ];
    },
  };
}

/** Of all scales of a tensor, which are held back. */
export function scaleBytes({ rows, padded }: Rows): number {
  return (rows * padded) / BLOCK_SIZE;
}
