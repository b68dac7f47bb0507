/** The quantized tensors of a file, each stored as one tensor or two. */
import { AppError } from "../../api/errors.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import type { TensorFile } from "../containers/container.ts";
import type { Metadata } from "../containers/safetensors-reader.ts";
import type { TensorRange } from "../tensor.ts";
import {
  BLOCK_LAYOUTS,
  type BlockLayout,
  layoutOf,
  type Part,
  partNames,
} from "./block-layouts.ts";
import type { DecodingScheme } from "./block-pieces.ts";
import { type Rows, rowsOf } from "./block-rows.ts";
import {
  isRecorded,
  missingPart,
  PLAIN,
  readScheme,
  readShape,
  readTensorRecords,
} from "./quantization-record.ts";

export type PackedTensor = {
  name: string;
  layout: BlockLayout;
  /** Elements and scales, or one tensor of blocks that include their scales. */
  parts: readonly TensorRange[];
  /** The decoded shape. */
  shape: readonly number[];
  rows: Rows;
};

type Found = Pick<PackedTensor, "name" | "layout" | "parts"> & {
  record?: string;
};
type ByName = ReadonlyMap<string, TensorRange>;

/**
 * Finds quantized tensors: by our metadata; in a file without it, such as a gpt-oss checkpoint, by name and type; in
 * a GGUF, by type. Errors: `malformed_body`, `shape_mismatch`, `unsupported_dtype`
 */
export function findPacked(file: {
  target: Pick<TensorFile["target"], "name" | "isPlain">;
  tensors: readonly TensorRange[];
  metadata: TensorFile["metadata"];
}): {
  scheme: DecodingScheme;
  packed: PackedTensor[];
} {
  const byName = new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
  if (!file.target.isPlain && isRecorded(file.metadata)) {
    // Metadata values of safetensors are strings.
    const metadata = file.metadata as Metadata;
    const scheme = readScheme(metadata);
    const layout = layoutOf(file.target.name, scheme.format, scheme.layout);
    const found = recorded(readTensorRecords(metadata), layout, byName);
    return { scheme, packed: found.map((each) => complete(each, scheme)) };
  }
  const layouts = BLOCK_LAYOUTS.filter(
    ({ target }) => target === file.target.name,
  );
  const found = file.tensors.flatMap((tensor) =>
    recognized(tensor, layouts, byName),
  );
  return { scheme: PLAIN, packed: found.map((each) => complete(each, PLAIN)) };
}

/** Whether a tensor is stored as this layout writes it; scales of other tools may have another dtype. */
export function isInLayout(
  { layout, parts }: PackedTensor,
  target: BlockLayout,
): boolean {
  return (
    layout === target &&
    parts.every(({ dtype }, i) => dtype === target.parts[i]!.dtypes[0])
  );
}

function recorded(
  records: ReadonlyMap<string, string>,
  layout: BlockLayout,
  byName: ByName,
): Found[] {
  return [...records].map(([name, record]) => {
    const names = partNames(layout, name) ?? [];
    const parts = names.flatMap((part) => byName.get(part) ?? []);
    if (parts.length < layout.parts.length) throw missingPart(name, names);
    return { name, layout, parts, record };
  });
}

/** The quantized tensor whose first part is `first`, if any layout matches. */
function recognized(
  first: TensorRange,
  layouts: readonly BlockLayout[],
  byName: ByName,
): Found[] {
  for (const layout of layouts) {
    const { base, parts: rules } = layout;
    const { suffix } = rules[0];
    if (!first.name.endsWith(suffix)) continue;
    const name = first.name.slice(0, first.name.length - suffix.length) + base;
    const parts = partNames(layout, name)!.flatMap(
      (part) => byName.get(part) ?? [],
    );
    if (parts.length < rules.length) continue;
    // A distinctive name or dtype identifies the layout; otherwise all shapes and dtypes must match.
    const isNamed =
      (suffix !== base && rules.length > 1) || hasOwnTypes(layout, parts);
    if (isNamed || fits(layout, parts)) return [{ name, layout, parts }];
  }
  return [];
}

/** Whether the dtypes are distinctive: FP4 with E8M0 scales. */
function hasOwnTypes(
  { parts: rules }: BlockLayout,
  parts: readonly TensorRange[],
): boolean {
  return parts.every(({ dtype }, i) => {
    const [own, ...others] = rules[i]!.dtypes;
    return dtype === own && others.length === 0 && /^F(4|8_E8M0)$/.test(dtype);
  });
}

function fits({ parts: rules }: BlockLayout, parts: readonly TensorRange[]) {
  const typed = parts.every((part, i) => rules[i]!.dtypes.includes(part.dtype));
  if (!typed) return false;
  const found = groupsOf(rules.at(-1)!, parts.at(-1)!.shape);
  return (
    found !== undefined &&
    parts[0]!.shape.join() ===
      [...found.outer, ...rules[0].inner(found.groups)].join()
  );
}

/** Adds the decoded shape, after checking that the parts fit together. */
function complete(found: Found, { hadamard }: DecodingScheme): PackedTensor {
  const { name, layout, parts, record } = found;
  for (const [i, { dtypes }] of layout.parts.entries()) {
    const part = parts[i]!;
    if (dtypes.includes(part.dtype)) continue;
    throw new AppError(
      "unsupported_dtype",
      `Expected tensor "${part.name}" to be ${dtypes.join(" or ")}, got ${part.dtype}`,
    );
  }
  const { outer, groups } = blocksOf(layout, parts);
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
  return { name, layout, parts, shape, rows: rowsOf(shape, hadamard) };
}

type Blocks = { outer: readonly number[]; groups: number };

/** The number of blocks, by the scales if they are separate. */
function blocksOf(
  { parts: rules }: BlockLayout,
  parts: readonly TensorRange[],
): Blocks {
  const [first, scales] = parts as [TensorRange, TensorRange?];
  const found = groupsOf(rules.at(-1)!, (scales ?? first).shape);
  if (scales === undefined) {
    if (found) return found;
    throw new AppError(
      "shape_mismatch",
      `Expected tensor "${first.name}" to be [..., ${innerText(rules[0])}], got [${first.shape.join(", ")}]`,
    );
  }
  const expected = found
    ? [...found.outer, ...rules[0].inner(found.groups)].join(", ")
    : "of blocks with scales";
  if (found && first.shape.join(", ") === expected) return found;
  throw new AppError(
    "shape_mismatch",
    `Expected tensor "${first.name}" to be [${expected}], because "${scales.name}" is [${scales.shape.join(", ")}], got [${first.shape.join(", ")}]`,
  );
}

/** The outer dimensions and number of blocks of a part's shape; undefined if it does not fit. */
function groupsOf(
  { inner }: Part,
  shape: readonly number[],
): Blocks | undefined {
  const [one, two] = [inner(1), inner(2)];
  const outer = shape.slice(0, -one.length);
  const own = shape.slice(-one.length);
  const axis = one.findIndex((size, i) => size !== two[i]);
  const groups = (own[axis] ?? NaN) / one[axis]!;
  const fits =
    Number.isInteger(groups) &&
    shape.length >= one.length &&
    inner(groups).join() === own.join();
  return fits ? { outer, groups } : undefined;
}

/** The last dimensions as text: `K/32, 17` for a part with blocks of 17 bytes. */
function innerText({ inner }: Part): string {
  const two = inner(2);
  return inner(1)
    .map((size, i) => {
      if (size === two[i]) return `${size}`;
      return size === BLOCK_SIZE ? "K" : `K/${BLOCK_SIZE / size}`;
    })
    .join(", ");
}
