/**
 * An MXFP4 file to floats, in one pass. Of the two tensors that stand for one, the first to come is
 * held until the second does; the second then decodes piece by piece.
 */
import { AppError } from "../api/errors.ts";
import { BLOCK_SIZE, GGML_BLOCK_BYTES } from "../kernels/mxfp4.ts";
import { kernels } from "../kernels/runtime.ts";
import {
  Conversion,
  HoldPool,
  OutputBuffer,
  type Section,
} from "./conversion.ts";
import type { FloatDtype } from "./dtype.ts";
import type { TensorInput } from "./input.ts";
import {
  BLOCK_BYTES,
  DOTTED_SUFFIXES,
  fromGgml,
  GGML_SUFFIX,
  PAIR_SUFFIXES,
} from "./layout.ts";
import {
  type DecodingScheme,
  type Packed,
  storePiece,
  unpack,
} from "./mxfp4.ts";
import { checkHeld } from "./quantize-file.ts";
import {
  isRecorded,
  missingPart,
  PLAIN,
  readScheme,
  readShape,
  readTensorRecords,
  withoutRecord,
} from "./record.ts";
import { pieceCount, pieceOf, type Rows, rowsOf } from "./rows.ts";
import { writeHead } from "./safetensors-writer.ts";
import {
  arrange,
  copiedTensor,
  droppedTensor,
  FILLER_PREFIX,
  kept,
  type Written,
} from "./sections.ts";
import type { TensorRange } from "./tensor.ts";

export type DecodedDtype = Exclude<FloatDtype, "F64">;

/** A tensor in the file, as one part or two. */
type Source = {
  name: string;
  /** Elements and scales; or one tensor of ggml's blocks. */
  parts: readonly TensorRange[];
  record?: string;
};

/**
 * Every MXFP4 tensor becomes one of `dtype`; the rest passes through. A file without our metadata,
 * such as a gpt-oss checkpoint, has its pairs found by name.
 * Errors: `malformed_body`, `shape_mismatch`, `unsupported_dtype`, `name_collision`, `body_too_large`
 */
export function planDequantize(
  { tensors, metadata }: TensorInput,
  dtype: DecodedDtype,
): Conversion {
  const ours = isRecorded(metadata);
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const scheme = ours ? readScheme(metadata) : { ...PLAIN, layout: undefined };
  const sources = scheme.layout
    ? recordedSources(readTensorRecords(metadata), scheme.layout, byName)
    : sourcesByName(byName);

  const pool = new HoldPool();
  const written = new Map<TensorRange, Written>();
  /** By the part that comes first: what is held from there, and until which part. */
  const held = new Map<TensorRange, { bytes: number; until: TensorRange }>();
  for (const [index, source] of sources.entries()) {
    const { shape, rows } = shapeOf(source, scheme);
    const heads = [{ name: source.name, dtype, shape }];
    const [first, second] = source.parts.toSorted((a, b) => a.start - b.start);
    if (!second) {
      const bytes = first!.end - first!.start;
      const open = () => decodedGgml(rows, dtype, scheme);
      written.set(first!, { bytes, open, heads });
      continue;
    }
    const hold = { pool, index, bytes: first!.end - first!.start };
    checkHeld(source.name, hold.bytes);
    held.set(first!, { bytes: hold.bytes, until: second });
    written.set(first!, {
      bytes: hold.bytes,
      open: () => kept(hold.bytes, pool, index),
      heads: [],
    });
    const scalesLast = second === source.parts[1];
    written.set(second, {
      bytes: second.end - second.start,
      open: () => decodedPair(rows, dtype, scheme, hold, scalesLast),
      heads,
    });
  }
  const heldBytes = mostHeld(tensors, held);

  const { heads, sections } = arrange(
    tensors.map((tensor) =>
      tensor.name.startsWith(FILLER_PREFIX)
        ? droppedTensor(tensor)
        : (written.get(tensor) ?? copiedTensor(tensor)),
    ),
  );
  return new Conversion({
    ...writeHead(heads, withoutRecord(metadata)),
    sections,
    pool,
    heldBytes,
  });
}

/** The most bytes held at once, over all tensors. */
function mostHeld(
  tensors: readonly TensorRange[],
  held: ReadonlyMap<TensorRange, { bytes: number; until: TensorRange }>,
): number {
  let [now, most] = [0, 0];
  const ends = new Map<TensorRange, number>();
  for (const tensor of tensors) {
    const start = held.get(tensor);
    if (start) {
      now += start.bytes;
      ends.set(start.until, start.bytes);
      checkHeld(tensor.name, now);
      most = Math.max(most, now);
    }
    now -= ends.get(tensor) ?? 0;
  }
  return most;
}

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
function decodedPair(
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

function recordedSources(
  records: ReadonlyMap<string, string>,
  layout: "gpt-oss" | "ggml" | "compressed-tensors",
  byName: ReadonlyMap<string, TensorRange>,
): Source[] {
  const suffixes = layout === "ggml" ? [GGML_SUFFIX] : PAIR_SUFFIXES[layout];
  return [...records].map(([name, record]) => {
    const names = suffixes.map((suffix) => name + suffix);
    const parts = names.flatMap((part) => byName.get(part) ?? []);
    if (parts.length < names.length) throw missingPart(name, names);
    return { name, parts, record };
  });
}

function sourcesByName(byName: ReadonlyMap<string, TensorRange>): Source[] {
  const sources: Source[] = [];
  for (const [elementsName, elements] of byName) {
    for (const [elementsSuffix, scalesSuffix] of [
      PAIR_SUFFIXES["gpt-oss"],
      DOTTED_SUFFIXES,
      PAIR_SUFFIXES["compressed-tensors"],
    ]) {
      if (!elementsName.endsWith(elementsSuffix)) continue;
      const name = elementsName.slice(0, -elementsSuffix.length);
      const scales = byName.get(name + scalesSuffix);
      if (scales) sources.push({ name, parts: [elements, scales] });
    }
  }
  return sources;
}

/** The decoded shape, after checking that the parts fit together. */
function shapeOf(
  { name, parts, record }: Source,
  { hadamard }: DecodingScheme,
): { shape: readonly number[]; rows: Rows } {
  for (const part of parts) {
    if (part.dtype === "U8") continue;
    throw new AppError(
      "unsupported_dtype",
      `Expected tensor "${part.name}" to be U8, got ${part.dtype}`,
    );
  }
  const { outer, groups } = parts[1]
    ? pairGroups(parts[0]!, parts[1])
    : ggmlGroups(parts[0]!);
  const padded = groups * BLOCK_SIZE;
  const unit = Math.max(BLOCK_SIZE, hadamard);
  if (padded % unit !== 0) {
    throw new AppError(
      "shape_mismatch",
      `Expected rows of tensor "${name}" to be a multiple of ${unit}, got ${padded}`,
    );
  }
  const shape =
    record === undefined
      ? [...outer, padded]
      : readShape(name, record, outer, padded, unit);
  return { shape, rows: rowsOf(shape, hadamard) };
}

function pairGroups(
  elements: TensorRange,
  scales: TensorRange,
): { outer: readonly number[]; groups: number } {
  const outer = scales.shape.slice(0, -1);
  const groups = scales.shape.at(-1);
  if (groups !== undefined) {
    const apart = [...outer, groups, BLOCK_BYTES];
    const together = [...outer, groups * BLOCK_BYTES];
    const packed = elements.name.endsWith(
      PAIR_SUFFIXES["compressed-tensors"][0],
    );
    const expected = packed ? together : apart;
    if (elements.shape.join() === expected.join()) return { outer, groups };
    throw mismatch(elements, expected.join(", "), scales);
  }
  throw mismatch(elements, "of blocks with scales", scales);
}

function ggmlGroups(blocks: TensorRange): {
  outer: readonly number[];
  groups: number;
} {
  const groups = blocks.shape.at(-2);
  if (groups === undefined || blocks.shape.at(-1) !== GGML_BLOCK_BYTES) {
    throw new AppError(
      "shape_mismatch",
      `Expected tensor "${blocks.name}" to be [..., K/32, ${GGML_BLOCK_BYTES}], got [${blocks.shape.join(", ")}]`,
    );
  }
  return { outer: blocks.shape.slice(0, -2), groups };
}

function mismatch(
  elements: TensorRange,
  expected: string,
  scales: TensorRange,
): AppError {
  return new AppError(
    "shape_mismatch",
    `Expected tensor "${elements.name}" to be [${expected}], because "${scales.name}" is [${scales.shape.join(", ")}], got [${elements.shape.join(", ")}]`,
  );
}
