/**
 * Cuts a tensor into pieces for the kernels: rows of K elements, each padded with zeros to whole blocks. Pieces do
 * not depend on how the bytes arrive.
 *
 * Elements are counted in the padded tensor: row · padded + k.
 */
import { AppError } from "../../api/errors.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { dtypeBytes, type FloatDtype } from "../dtype.ts";
import { elementCount } from "../tensor.ts";

/** Elements of a piece, padding included: a multiple of every block and segment length. */
const PIECE_LENGTH = 1 << 16;

/** Noise counts pairs of elements with 32 bits. */
const MAX_ELEMENTS = 2 ** 33;

export type Rows = {
  rows: number;
  /** Elements of a row. */
  k: number;
  /** Elements of a row with its padding: a multiple of the block and segment lengths. */
  padded: number;
};

export type Piece = {
  /** Its first element in the padded tensor. */
  start: number;
  /** Elements, padding included. */
  count: number;
  /** Number of rows, or 1 for a part of a row; each has `real` elements, and `count / rows` with padding. */
  rows: number;
  real: number;
};

/** The rows of a tensor of at least one dimension. */
export function rowsOf(shape: readonly number[], segmentLength: number): Rows {
  const unit = Math.max(BLOCK_SIZE, segmentLength);
  const k = shape.at(-1)!;
  return {
    rows: elementCount(shape.slice(0, -1)),
    k,
    padded: Math.ceil(k / unit) * unit,
  };
}

/** All values as a single row, of which only the last piece is shorter. */
export function oneRow(shape: readonly number[]): Rows {
  const count = elementCount(shape);
  return { rows: 1, k: count, padded: count };
}

export function pieceCount({ rows, k, padded }: Rows): number {
  if (k === padded) return Math.ceil((rows * k) / PIECE_LENGTH);
  if (padded <= PIECE_LENGTH) return Math.ceil(rows / rowsAPiece(padded));
  return rows * Math.ceil(padded / PIECE_LENGTH);
}

export function pieceOf({ rows, k, padded }: Rows, index: number): Piece {
  if (k === padded) {
    const start = index * PIECE_LENGTH;
    const count = Math.min(PIECE_LENGTH, rows * k - start);
    return { start, count, rows: 1, real: count };
  }
  if (padded <= PIECE_LENGTH) {
    const first = index * rowsAPiece(padded);
    const taken = Math.min(rowsAPiece(padded), rows - first);
    const start = first * padded;
    return { start, count: taken * padded, rows: taken, real: k };
  }
  const perRow = Math.ceil(padded / PIECE_LENGTH);
  const row = Math.floor(index / perRow);
  const column = (index % perRow) * PIECE_LENGTH;
  const count = Math.min(PIECE_LENGTH, padded - column);
  const real = Math.min(count, k - column);
  return { start: row * padded + column, count, rows: 1, real };
}

function rowsAPiece(padded: number): number {
  return Math.floor(PIECE_LENGTH / padded);
}

/** Bytes of a piece in a file of floats. */
export function inputBytes(
  rows: Rows,
  index: number,
  dtype: FloatDtype,
): number {
  const piece = pieceOf(rows, index);
  return dtypeBytes(dtype, piece.rows * piece.real);
}

/** Errors: `shape_mismatch` for a tensor with more elements than the noise counter can index */
export function checkSize(name: string, { rows, padded }: Rows): void {
  if (rows * padded <= MAX_ELEMENTS) return;
  throw new AppError(
    "shape_mismatch",
    `Expected at most 2^33 elements in tensor "${name}", got ${rows * padded}, padding included`,
  );
}
