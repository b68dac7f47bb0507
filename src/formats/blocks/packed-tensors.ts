/** The MXFP4 tensors of a safetensors file, each stored as one tensor or two. */
import { AppError } from "../../api/errors.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { GGML_BLOCK_BYTES } from "../../kernels/mxfp4.ts";
import {
  BLOCK_BYTES,
  DOTTED_SUFFIXES,
  GGML_SUFFIX,
  PAIR_SUFFIXES,
} from "./layout.ts";
import type { DecodingScheme } from "./mxfp4.ts";
import {
  isRecorded,
  missingPart,
  PLAIN,
  readScheme,
  readShape,
  readTensorRecords,
} from "./record.ts";
import { type Rows, rowsOf } from "./rows.ts";
import type { Metadata } from "../containers/safetensors-reader.ts";
import type { TensorRange } from "../tensor.ts";

export type PackedTensor = {
  name: string;
  /** Elements and scales; or one tensor of ggml's blocks. */
  parts: readonly TensorRange[];
  /** As it decodes. */
  shape: readonly number[];
  rows: Rows;
};

type Parts = Pick<PackedTensor, "name" | "parts"> & { record?: string };

/**
 * What a file's metadata says is MXFP4. A file without our metadata, such as a gpt-oss checkpoint, has
 * its pairs found by name.
 * Errors: `malformed_body`, `shape_mismatch`, `unsupported_dtype`
 */
export function findPacked(
  tensors: readonly TensorRange[],
  metadata: Metadata,
): { scheme: DecodingScheme; packed: PackedTensor[] } {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const scheme = isRecorded(metadata)
    ? readScheme(metadata)
    : { ...PLAIN, layout: undefined };
  const found = scheme.layout
    ? recordedParts(readTensorRecords(metadata), scheme.layout, byName)
    : partsByName(byName);
  const packed = found.map((each) => ({ ...each, ...shapeOf(each, scheme) }));
  return { scheme, packed };
}

function recordedParts(
  records: ReadonlyMap<string, string>,
  layout: "gpt-oss" | "ggml" | "compressed-tensors",
  byName: ReadonlyMap<string, TensorRange>,
): Parts[] {
  const suffixes = layout === "ggml" ? [GGML_SUFFIX] : PAIR_SUFFIXES[layout];
  return [...records].map(([name, record]) => {
    const names = suffixes.map((suffix) => name + suffix);
    const parts = names.flatMap((part) => byName.get(part) ?? []);
    if (parts.length < names.length) throw missingPart(name, names);
    return { name, parts, record };
  });
}

function partsByName(byName: ReadonlyMap<string, TensorRange>): Parts[] {
  const found: Parts[] = [];
  for (const [elementsName, elements] of byName) {
    for (const [elementsSuffix, scalesSuffix] of [
      PAIR_SUFFIXES["gpt-oss"],
      DOTTED_SUFFIXES,
      PAIR_SUFFIXES["compressed-tensors"],
    ]) {
      if (!elementsName.endsWith(elementsSuffix)) continue;
      const name = elementsName.slice(0, -elementsSuffix.length);
      const scales = byName.get(name + scalesSuffix);
      if (scales) found.push({ name, parts: [elements, scales] });
    }
  }
  return found;
}

/** The decoded shape, after checking that the parts fit together. */
function shapeOf(
  { name, parts, record }: Parts,
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
