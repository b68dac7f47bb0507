/**
 * FP8 weights with separate scales, as written by DeepSeek-V3, compressed-tensors (float-quantized), ModelOpt,
 * transformers and others. A weight w f8 [..., out, in] means w · scale in f32, even if the scale's name says "inv".
 * Shapes tell which elements share a scale:
 *
 *   per tensor   [] or [1]
 *   per matrix   [E] or [E, 1, 1]
 *   per row      [..., out] or [..., out, 1]
 *   per block    [..., ceil(out / 128), ceil(in / 128)]: of 128, another power of two, or an exact divisor
 */
import { AppError } from "../../api/errors.ts";
import type { StoredType } from "../dtype.ts";
import { elementCount, type TensorRange } from "../tensor.ts";
import type { Float8Type } from "../../kernels/mxfp8.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";

/** Suffixes of scale names; they replace `base` at the end of the weight's name. */
const SCALE_NAMES: readonly { base: string; suffix: string }[] = [
  { base: "", suffix: "_scale_inv" },
  { base: "", suffix: "_scale" },
  { base: "weight", suffix: "scale_inv" },
  { base: "weight", suffix: "scale" },
  // ComfyUI's, and Mistral's own.
  { base: "weight", suffix: "scale_weight" },
  { base: "weight", suffix: "qscale_weight" },
];

/** Scales of activations, which are meaningless once the weight has another type. */
const INPUT_SCALES: typeof SCALE_NAMES = [
  { base: "weight", suffix: "input_scale" },
  { base: "weight", suffix: "scale_input" },
  { base: "weight", suffix: "qscale_act" },
];

const SCALE_DTYPES = ["F32", "BF16", "F16", "F8_E8M0"] as const;
export type ScaleDtype = (typeof SCALE_DTYPES)[number];

export const FLOAT8_DTYPES: Partial<Record<StoredType, Float8Type>> = {
  F8_E4M3: "e4m3",
  F8_E5M2: "e5m2",
};

/** Block size (elements that share a scale) and number of scales, by dimension. */
export type ScaleGrid = {
  blocks: readonly number[];
  counts: readonly number[];
};

export type Float8Tensor = {
  weight: TensorRange;
  type: Float8Type;
  /** Undefined if the codes are the values. */
  scale?: { tensor: TensorRange<ScaleDtype>; grid: ScaleGrid };
  /** Scale of the activations; removed together with the weight's scale. */
  inputScale?: TensorRange | undefined;
};

/**
 * The FP8 tensors, except those of MXFP8. Errors: `shape_mismatch`, `unsupported_dtype` for a scale that does not fit
 * its weight
 */
export function findFloat8(tensors: readonly TensorRange[]): Float8Tensor[] {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return tensors.flatMap((weight) => {
    const type = FLOAT8_DTYPES[weight.dtype];
    if (type === undefined) return [];
    const scale = beside(weight, SCALE_NAMES, byName);
    if (scale === undefined) return [{ weight, type }];
    if (isMxfp8(weight, scale)) return [];
    const inputScale = beside(weight, INPUT_SCALES, byName);
    return [{ weight, type, scale: checked(weight, scale), inputScale }];
  });
}

/**
 * FP8 whose scale is missing or in another file would be read as wrong values. So if one matrix of the `meant` ones
 * has a scale, or `isScaled`, all must have one. Errors: `malformed_body`
 */
export function checkScales(
  found: readonly Float8Tensor[],
  meant: (name: string) => boolean,
  isScaled = false,
): void {
  const scaled = found.find(({ scale }) => scale !== undefined);
  if (!scaled && !isScaled) return;
  const bare = found.find(
    ({ weight: { name, shape }, scale }) =>
      scale === undefined &&
      shape.length > 1 &&
      elementCount(shape) > 0 &&
      meant(name),
  );
  if (!bare) return;
  const as = scaled
    ? `"${scaled.weight.name}" has one in "${scaled.scale!.tensor.name}"`
    : "config.json tells of a quantizer";
  throw new AppError(
    "malformed_body",
    `Expected a scale beside "${bare.weight.name}", ${bare.weight.dtype}, as ${as}, got none`,
  );
}

function beside(
  { name }: TensorRange,
  rules: typeof SCALE_NAMES,
  byName: ReadonlyMap<string, TensorRange>,
): TensorRange | undefined {
  for (const { base, suffix } of rules) {
    if (!name.endsWith(base)) continue;
    const stem = name.slice(0, name.length - base.length);
    const found = byName.get(stem + suffix);
    if (found) return found;
  }
  return undefined;
}

/** The names of weights for which a tensor of this name may be the scale. */
export function scaledNames(name: string): string[] {
  return SCALE_NAMES.flatMap(({ base, suffix }) =>
    name.endsWith(suffix)
      ? [name.slice(0, name.length - suffix.length) + base]
      : [],
  );
}

/** Whether only a weight's scale has such a name; other tensors may also end in `scale`. */
export function namedScale(name: string): boolean {
  return /(weight_scale|[._]scale_inv|\.q?scale_weight)$/.test(name);
}

/** Whether there is a scale for every 32 elements of a row. */
export function isMxfp8(
  { shape }: Pick<TensorRange, "shape">,
  { dtype, shape: scales }: Pick<TensorRange, "dtype" | "shape">,
): boolean {
  const k = shape.at(-1);
  return (
    (dtype === "U8" || dtype === "F8_E8M0") &&
    k !== undefined &&
    [...shape.slice(0, -1), k / BLOCK_SIZE].join() === scales.join()
  );
}

function checked(
  weight: TensorRange,
  scale: TensorRange,
): NonNullable<Float8Tensor["scale"]> {
  const { name, dtype, shape } = scale;
  if (!isScale(scale))
    throw new AppError(
      "unsupported_dtype",
      `Expected tensor "${name}", the scale of "${weight.name}", to be ${SCALE_DTYPES.join(", ")}, got ${dtype}`,
    );
  const grid = gridOf(weight.shape, shape);
  if (grid) return { tensor: scale, grid };
  throw new AppError(
    "shape_mismatch",
    `Expected tensor "${name}" to have a scale for each tensor, row or block of "${weight.name}", which is [${weight.shape.join(", ")}], got [${shape.join(", ")}]`,
  );
}

function isScale(tensor: TensorRange): tensor is TensorRange<ScaleDtype> {
  return (SCALE_DTYPES as readonly StoredType[]).includes(tensor.dtype);
}

/** Undefined if no block size gives this number of scales. */
function gridOf(
  shape: readonly number[],
  scales: readonly number[],
): ScaleGrid | undefined {
  const isOne = elementCount(scales) === 1;
  const isPrefix = scales.every((size, i) => size === shape[i]);
  if (!isOne && !isPrefix && scales.length !== shape.length) return undefined;
  const counts = shape.map((_, i) => (isOne ? 1 : (scales[i] ?? 1)));
  const blocks = shape.map((size, i) => blockOf(size, counts[i]!));
  return blocks.every((block) => block !== undefined)
    ? { blocks: blocks as number[], counts }
    : undefined;
}

/** The block size with which a dimension has `count` blocks; at most one power of two does. */
function blockOf(size: number, count: number): number | undefined {
  if (count === 1) return Math.max(1, size);
  if (size === 0 || count === 0) return undefined;
  for (let block = 1; block < size; block *= 2)
    if (Math.ceil(size / block) === count) return block;
  return size % count === 0 ? size / count : undefined;
}
