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
import type { HoldPool } from "../stream/hold-pool.ts";
import { BLOCK_FORMATS } from "./block-formats.ts";
import {
  loadPiece,
  packBlocks,
  type PieceListeners,
  toGgml,
} from "./block-pieces.ts";
import {
  inputBytes,
  type Piece,
  pieceCount,
  pieceOf,
  type Rows,
} from "./block-rows.ts";
import type { Lost } from "./nonfinite.ts";
import type { Scheme } from "../../api/scheme.ts";

/** Elements as they come, and their scales, in `hold` until then, behind them. */
export class ScalesBehind {
  readonly #out = new OutputBuffer();
  readonly #scheme: Scheme;
  readonly #key: NoiseKey;
  readonly #pool: HoldPool;
  readonly #hold: number;
  readonly #bytes: number;
  readonly #told: PieceListeners | undefined;

  /** `bytes` are those of all scales. */
  constructor(
    scheme: Scheme,
    key: NoiseKey,
    pool: HoldPool,
    hold: number,
    bytes: number,
    told?: PieceListeners,
  ) {
    this.#scheme = scheme;
    this.#key = key;
    this.#pool = pool;
    this.#hold = hold;
    this.#bytes = bytes;
    this.#told = told;
  }

  /** The elements of f32 [count] at `x`. Inside of `arena.scope`. */
  pack(x: Pointer, piece: Piece): Uint8Array {
    const { arena } = kernels();
    const { elementBytes } = BLOCK_FORMATS[this.#scheme.format];
    const blocks = piece.count / BLOCK_SIZE;
    const { elements, scales } = packBlocks(
      x,
      piece,
      this.#scheme,
      this.#key,
      this.#told,
    );
    this.#held.set(arena.u8(scales, blocks), piece.start / BLOCK_SIZE);
    return this.#out.copy(arena.u8(elements, blocks * elementBytes));
  }

  /** Behind the last piece. */
  *end(): Generator<Uint8Array> {
    yield this.#held;
    this.#pool.release(this.#hold);
  }

  release(): void {
    this.#out.release();
  }

  get #held(): Uint8Array {
    return this.#pool.bytes(this.#hold, this.#bytes);
  }
}

export function quantized(
  rows: Rows,
  dtype: FloatDtype,
  scheme: Scheme,
  key: NoiseKey,
  pool: HoldPool,
  hold: number,
  told?: PieceListeners,
): Section {
  const bytes = scaleBytes(rows);
  const blocks = new ScalesBehind(scheme, key, pool, hold, bytes, told);
  const pieces = pieceCount(rows);
  return {
    release: () => blocks.release(),
    pieces,
    pieceBytes: (index) => inputBytes(rows, index, dtype),
    *convert(index, bytes) {
      const piece = pieceOf(rows, index);
      yield kernels().arena.scope(() =>
        blocks.pack(loadPiece(bytes, dtype, piece), piece),
      );
      if (index === pieces - 1) yield* blocks.end();
    },
  };
}

/** How a piece is written where all that belongs to a block lies in it, so that nothing is held back. */
export type PieceWriter = {
  /** Of 32 elements. */
  blockBytes: number;
  /** Whether bytes depend on where in the tensor a piece is. */
  isNoisy: boolean;
  /** The bytes of f32 [count] at `x`, a view. Inside of `arena.scope`. */
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

/** Floats, which are as many bytes each. */
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
  return {
    release: () => out.release(),
    pieces: pieceCount(rows),
    pieceBytes: (index) => inputBytes(rows, index, dtype),
    convert(index, bytes) {
      const piece = pieceOf(rows, index);
      return [
        kernels().arena.scope(() =>
          out.copy(write(loadPiece(bytes, dtype, piece), piece, lost)),
        ),
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
