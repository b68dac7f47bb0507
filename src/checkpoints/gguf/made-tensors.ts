/** The tensors of a GGUF: which tensors of the checkpoint each is made of, and which of their bytes are read. */
import { AppError } from "../../api/errors.ts";
import type { Float8Tensor } from "../../formats/blocks/fp8-scales.ts";
import { quoted } from "../../formats/containers/malformed.ts";
import type { FloatDtype, StoredType } from "../../formats/dtype.ts";
import { compareNames, elementCount, swapped } from "../../formats/tensor.ts";
import type { CheckpointTensor } from "../checkpoint.ts";
import type { TensorRead } from "../tensor-reads.ts";
import {
  float8Kind,
  type Float8Source,
  float8Source,
  stackedFloat8,
} from "./float8-source.ts";
import {
  type Change,
  type Destination,
  destinationsOf,
  type Names,
  type RowSelection,
} from "./names.ts";

/** A tensor of the checkpoint: floats in one part, or MXFP4 or FP8 with scales in one or two parts. */
export type Source = {
  name: string;
  /** For quantized ones, the decoded shape. */
  shape: readonly number[];
  /** For FP8, the dtype if it is not quantized to MXFP4. */
  dtype: FloatDtype | "MXFP4";
  float8?: Float8Tensor;
  /** In reading order: scales before elements. */
  parts: readonly CheckpointTensor[];
};

export type MadeTensor = {
  name: string;
  /** The last dimension is the contracted one, `in`. */
  shape: readonly number[];
  dtype: Source["dtype"];
  /** Names in the checkpoint, in stacking order. */
  sources: readonly string[];
  /** Per part of the sources: the first part of all sources, then the second. */
  reads: readonly (readonly TensorRead[])[];
  /** How FP8 codes become values. */
  float8: Float8Source | undefined;
  /** The data read is [.., in, out]. */
  turned: boolean;
  change: Change | undefined;
};

/** Buffers that are not parameters. */
const NOT_PARAMETERS =
  /(^|\.)(attn\.(masked_)?bias|rotary_emb\.inv_freq|inv_freq|position_ids)$/;
export function isParameter(name: string): boolean {
  return !NOT_PARAMETERS.test(name);
}

/** Further names of T5's token embedding, which its files may contain too. */
const SHARED_AGAIN = /^(encoder|decoder)\.embed_tokens\.weight$/;

/**
 * Ordered by name. Errors: `invalid_option` for a tensor that llama.cpp's model does not have; `shape_mismatch` for
 * experts that cannot be stacked
 */
export function madeTensors(
  sources: readonly Source[],
  names: Names,
): MadeTensor[] {
  const stacks = new Map<
    string,
    { piece: Piece; expert: number | undefined }[]
  >();
  for (const source of sources) {
    const found = destinationsOf(names, source.name);
    if (found === undefined) {
      if (SHARED_AGAIN.test(source.name) && "shared" in names) continue;
      throw new AppError(
        "invalid_option",
        `Expected tensors that llama.cpp has in such a model, got ${quoted(source.name)}`,
      );
    }
    for (const destination of found.destinations) {
      const own = stacks.get(destination.to) ?? [];
      stacks.set(destination.to, own);
      own.push({ piece: pieceOf(source, destination), expert: found.expert });
    }
  }
  return [...stacks]
    .map(([name, pieces]) => stacked(name, pieces))
    .toSorted((a, b) => compareNames(a.name, b.name));
}

/** What one source contributes. */
type Piece = Omit<MadeTensor, "name" | "sources"> & { source: string };

function pieceOf(
  source: Source,
  { rows, change, squeezed, turned }: Destination,
): Piece {
  const isTurned =
    turned === true && source.dtype !== "MXFP4" && source.shape.length > 1;
  const { dtype, parts, shape: stored, float8 } = source;
  // The rows of a vector are its values.
  const axis =
    isTurned || stored.length < 2 || isBias(source)
      ? stored.length - 1
      : stored.length - 2;
  const selected = rows
    ? stored.with(axis, selectedRows(source.name, stored[axis]!, rows))
    : stored;
  const shape = isTurned ? swapped(selected) : selected;
  const outer = elementCount(stored.slice(0, axis));
  return {
    source: source.name,
    shape: squeezed ? shape.filter((size) => size !== 1) : shape,
    dtype,
    reads: parts.map((part, i) => {
      // Scales are few, and always read as a whole.
      const isWhole = float8 !== undefined && i < parts.length - 1;
      return readsOf(part, outer, stored[axis]!, isWhole ? undefined : rows);
    }),
    float8: float8 && float8Source(float8, axis, rows),
    turned: isTurned,
    change,
  };
}

function isBias({ name }: Source): boolean {
  return /[._]bias$/.test(name);
}

function selectedRows(
  name: string,
  rows: number,
  selection: RowSelection,
): number {
  const of = "half" in selection ? 2 : selection.of;
  if (rows % of === 0)
    return (rows / of) * ("half" in selection ? 1 : selection.taken.length);
  throw new AppError(
    "shape_mismatch",
    `Expected rows of ${quoted(name)} to be a multiple of ${of}, got ${rows}`,
  );
}

/** The ranges of the selected rows in a part of `outer` · `rows` rows. */
function readsOf(
  { file, start, end }: CheckpointTensor,
  outer: number,
  rows: number,
  selection: RowSelection | undefined,
): TensorRead[] {
  if (selection === undefined) return [{ file, start, end }];
  const rowBytes = (end - start) / (outer * rows);
  if (!("half" in selection))
    return [{ file, start, end, rows: { rowBytes, ...selection } }];
  const half = (rows / 2) * rowBytes;
  return Array.from({ length: outer }, (_, i) => {
    const from = start + (2 * i + selection.half) * half;
    return { file, start: from, end: from + half };
  });
}

function stacked(
  name: string,
  pieces: readonly { piece: Piece; expert: number | undefined }[],
): MadeTensor {
  const sorted = pieces.toSorted((a, b) => (a.expert ?? 0) - (b.expert ?? 0));
  const [{ piece: first, expert }] = sorted as [(typeof sorted)[number]];
  const sources = sorted.map(({ piece }) => piece.source);
  if (expert === undefined) {
    if (sorted.length === 1) return { ...first, name, sources };
    throw new AppError(
      "name_collision",
      `Expected one tensor for llama.cpp's ${quoted(name)}, got ${sources.map(quoted).join(" and ")}`,
    );
  }
  for (const [i, { piece, expert: number }] of sorted.entries()) {
    const { shape, dtype, reads, float8 } = piece;
    const isAlike =
      shape.join() === first.shape.join() &&
      dtype === first.dtype &&
      kindOf(float8) === kindOf(first.float8) &&
      reads.length === first.reads.length;
    if (!isAlike || number !== i)
      throw new AppError(
        "shape_mismatch",
        `Expected experts 0, 1, … of one shape and type, got ${quoted(piece.source)} as ${describe(piece)} behind ${describe(first)}`,
      );
  }
  return {
    ...first,
    name,
    sources,
    shape: [sorted.length, ...first.shape],
    float8: first.float8 && stackedFloat8(first.float8, sorted.length),
    reads: first.reads.map((_, part) =>
      sorted.flatMap(({ piece }) => piece.reads[part]!),
    ),
  };
}

/** The dtype in the checkpoint. */
export function storedDtype({
  dtype,
  float8,
}: Pick<MadeTensor, "dtype" | "float8">): StoredType {
  return float8 ? FLOAT8_NAMES[float8.type] : dtype;
}

const FLOAT8_NAMES = { e4m3: "F8_E4M3", e5m2: "F8_E5M2" } as const;

const kindOf = (float8: Float8Source | undefined) =>
  float8 && float8Kind(float8);

function describe(piece: Piece): string {
  const grid = piece.float8?.scales?.grid.counts;
  const scales = grid ? ` with [${grid.join(", ")}] scales` : "";
  return `${storedDtype(piece)} [${piece.shape.join(", ")}]${scales}`;
}
