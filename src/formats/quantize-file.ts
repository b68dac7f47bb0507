/**
 * A file to MXFP4, in one pass: a tensor's elements go out as they come, and only its scales are held
 * back until its end. Tensors keep their order.
 */
import { AppError } from "../api/errors.ts";
import { BLOCK_SIZE } from "../kernels/mxfp4.ts";
import type { NoiseKey } from "../kernels/noise.ts";
import { kernels } from "../kernels/runtime.ts";
import {
  Conversion,
  HoldPool,
  OutputBuffer,
  type Section,
} from "./conversion.ts";
import { dtypeBytes, type FloatDtype } from "./dtype.ts";
import type { TensorInput } from "./input.ts";
import { type Layout, packedHeads, toGgml } from "./layout.ts";
import { loadPiece, pack, roundingKey } from "./mxfp4.ts";
import { checkUnrecorded, writeScheme, writeTensorRecord } from "./record.ts";
import { pieceCount, pieceOf, type Rows, rowsOf } from "./rows.ts";
import { writeHead } from "./safetensors-writer.ts";
import type { Scheme } from "./scheme.ts";
import {
  arrange,
  copiedTensor,
  droppedTensor,
  FILLER_PREFIX,
  type Written,
} from "./sections.ts";
import { isChosen, type Selection } from "./selection.ts";
import { compareNames, type TensorRange } from "./tensor.ts";

/** More is not held back for one tensor. */
const MAX_HELD_BYTES = 32 * 1024 * 1024;
/** Noise counts pairs of elements with 32 bits. */
const MAX_ELEMENTS = 2 ** 33;

export type QuantizeOptions = {
  scheme: Scheme;
  layout: Layout;
  selection: Selection;
};

type ChosenTensor = TensorRange & { dtype: FloatDtype };

/**
 * Float tensors of at least one dimension become MXFP4, their rows padded with zeros to whole blocks
 * and segments; integer, 0-D and unselected ones pass through byte for byte, and with the ggml layout
 * those whose rows are not whole, as ggml does.
 * Errors: `unsupported_dtype`, `name_collision`, `shape_mismatch`, `body_too_large`
 */
export function planQuantize(
  { tensors, metadata }: TensorInput,
  { scheme, layout, selection }: QuantizeOptions,
): Conversion {
  checkUnrecorded(metadata);
  const chosen = new Map<TensorRange, ChosenTensor>();
  for (const tensor of tensors) {
    if (isQuantized(tensor, selection, layout, scheme.hadamard))
      chosen.set(tensor, tensor);
  }
  const positions = sortedPositions(chosen.values());
  const pool = new HoldPool();
  const parts: Written[] = [];
  const records: [string, string][] = [];
  let padsRows = false;
  let heldBytes = 0;
  for (const [index, tensor] of tensors.entries()) {
    const float = chosen.get(tensor);
    const { name, dtype, shape, start, end } = tensor;
    if (name.startsWith(FILLER_PREFIX)) {
      parts.push(droppedTensor(tensor));
      continue;
    }
    if (!float) {
      parts.push(copiedTensor(tensor));
      continue;
    }
    const rows = rowsOf(shape, scheme.hadamard);
    checkSize(name, rows);
    const position = positions.get(name)!;
    const open = (): Section => {
      const key = roundingKey(scheme.seed, position);
      return layout === "ggml"
        ? quantizedGgml(rows, float.dtype, scheme, key)
        : quantized(rows, float.dtype, scheme, key, pool, index);
    };
    const heads = packedHeads(layout, name, shape, rows);
    parts.push({ bytes: end - start, open, heads });
    if (layout !== "ggml") {
      checkHeld(name, scaleBytes(rows));
      heldBytes = Math.max(heldBytes, scaleBytes(rows));
    }
    padsRows ||= rows.k !== rows.padded;
    records.push(
      writeTensorRecord({ name, dtype, shape }, position, rows.padded),
    );
  }
  const { heads, sections } = arrange(parts);
  const written = new Map([
    ...metadata,
    ...writeScheme(scheme, layout, selection, padsRows),
    ...records,
  ]);
  return new Conversion({
    ...writeHead(heads, written),
    sections,
    pool,
    heldBytes,
  });
}

function scaleBytes({ rows, padded }: Rows): number {
  return (rows * padded) / BLOCK_SIZE;
}

/** Which noise each tensor gets: its place among the sorted names, whatever the order in the file. */
export function sortedPositions(
  tensors: Iterable<{ name: string }>,
): Map<string, number> {
  const names = Array.from(tensors, ({ name }) => name);
  return new Map(names.sort(compareNames).map((name, i) => [name, i]));
}

function isQuantized(
  tensor: TensorRange,
  selection: Selection,
  layout: Layout,
  segmentLength: number,
): tensor is ChosenTensor {
  if (tensor.name.startsWith(FILLER_PREFIX)) return false;
  if (!isChosen(tensor, selection)) return false;
  if (layout !== "ggml") return true;
  const { k, padded } = rowsOf(tensor.shape, segmentLength);
  return k === padded;
}

function quantized(
  rows: Rows,
  dtype: FloatDtype,
  scheme: Scheme,
  key: NoiseKey,
  pool: HoldPool,
  hold: number,
): Section {
  const { arena } = kernels();
  const out = new OutputBuffer();
  const pieces = pieceCount(rows);
  const held = () => pool.bytes(hold, scaleBytes(rows));
  return {
    pieces,
    pieceBytes: (index) => inputBytes(rows, index, dtype),
    *convert(index, bytes) {
      const piece = pieceOf(rows, index);
      const { start, count } = piece;
      yield arena.scope(() => {
        const x = loadPiece(bytes, dtype, piece);
        const { elements, scales } = pack(x, piece, scheme, key);
        held().set(arena.u8(scales, count / BLOCK_SIZE), start / BLOCK_SIZE);
        return out.copy(arena.u8(elements, count / 2));
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

/** Bytes that a piece has in a file of floats. */
export function inputBytes(
  rows: Rows,
  index: number,
  dtype: FloatDtype,
): number {
  const piece = pieceOf(rows, index);
  return dtypeBytes(dtype, piece.rows * piece.real);
}

export function checkSize(name: string, { rows, padded }: Rows): void {
  if (rows * padded <= MAX_ELEMENTS) return;
  throw new AppError(
    "shape_mismatch",
    `Expected at most 2^33 elements in tensor "${name}", got ${rows * padded}, padding included`,
  );
}

export function checkHeld(what: string, bytes: number): void {
  if (bytes <= MAX_HELD_BYTES) return;
  throw new AppError(
    "body_too_large",
    `Expected a file that needs at most ${MAX_HELD_BYTES} bytes held back, got ${bytes} for tensor "${what}"; POST /v1/jobs takes files of any size`,
  );
}
