/** Known quantized formats, each with the names, dtypes and shapes by which its tensors are recognized. */
import type { TensorHead } from "../tensor.ts";
import { FLOAT8_DTYPES, isMxfp8 } from "./fp8-scales.ts";

export type HeadsByName = ReadonlyMap<string, TensorHead>;

/** Returns the name of the weight that a tensor belongs to; undefined if it is not in the format. */
type Match = (head: TensorHead, heads: HeadsByName) => string | undefined;

/** A condition on a pair of tensors. */
type Fits = (scales: TensorHead, elements: TensorHead) => boolean;

type KnownFormat = { format: string; match: Match; isRead: boolean };

const WEIGHT = /weight$/;
const AFTER_WEIGHT = /(?<=weight)$/;

const READ: readonly [string, Match][] = [
  [
    "MXFP4, gpt-oss",
    pair(
      "U8",
      /(?<=[._])blocks$/,
      "scales",
      (_, { shape }) => shape.at(-1) === 16,
    ),
  ],
  ["MXFP4, compressed-tensors", pair("U8", /_packed$/, "_scale", groups(16))],
  ["MXFP4, Quark", pair("U8", AFTER_WEIGHT, "_scale", groups(16))],
  ["MXFP4, MLX", mlx(false, groups(4))],
  ["MXFP4, DeepSeek", pair("I8", WEIGHT, "scale", hasExponents)],
  ["MXFP4, F4 with E8M0 scales", pair("F4", /$/, "_scale", hasExponents)],
  [
    "MXFP8, compressed-tensors",
    (head, heads) => {
      const scales = heads.get(`${head.name}_scale`);
      const isOwn =
        FLOAT8_DTYPES[head.dtype] && scales && isMxfp8(head, scales);
      return isOwn ? head.name : undefined;
    },
  ],
  ["MXFP8, MLX", mlx(false, groups(8))],
  ["FP8", ({ name, dtype }) => (FLOAT8_DTYPES[dtype] ? name : undefined)],
  ["MXFP4, GGUF", ({ name, dtype }) => (dtype === "MXFP4" ? name : undefined)],
];

const UNREAD: readonly [string, Match][] = [
  ["NVFP4, compressed-tensors", pair("U8", /_packed$/, "_scale", groups(8))],
  [
    "NVFP4, ModelOpt",
    pair(
      "U8",
      AFTER_WEIGHT,
      "_scale",
      (scales, elements) =>
        scales.dtype === "F8_E4M3" && groups(8)(scales, elements),
    ),
  ],
  ["NVFP4, MLX", mlx(false, groups(2))],
  // Written by frameworks with a dtype for two codes; the scales' dtype tells the format.
  ["NVFP4, F4 with E4M3 scales", pair("F4", /$/, "_scale", hasE4m3)],
  ["NVFP4, F4 with E4M3 scales", pair("F4", /_packed$/, "_scale", hasE4m3)],
  ["NVFP4, F4 with E4M3 scales", pair("F4", WEIGHT, "scale", hasE4m3)],
  ["INT4, compressed-tensors", pair("I32", /_packed$/, "_scale")],
  [
    "INT8, compressed-tensors",
    pair("I8", AFTER_WEIGHT, "_scale", (scales) => !hasExponents(scales)),
  ],
  ["affine INT, MLX", mlx(true)],
  ["INT4, AWQ", zeroed((packed, zeros) => packed === zeros)],
  ["INT8, GPTQ", zeroed((packed, zeros) => packed === 4 * zeros)],
  ["INT4, GPTQ", zeroed((packed, zeros) => packed === 8 * zeros)],
  ["GPTQ", ({ name, dtype }) => stemOf(name, dtype === "I32", ".qweight")],
  ["NF4 or FP4, bitsandbytes", pair("U8", /$/, ".absmax")],
  ["INT8, bitsandbytes", pair("I8", WEIGHT, "SCB")],
  [
    "FP4 without scales that are known",
    ({ name, dtype }) => (dtype === "F4" ? name : undefined),
  ],
  ["FP6", ({ name, dtype }) => (dtype.startsWith("F6_") ? name : undefined)],
];

/** The first match counts. */
export const KNOWN_FORMATS: readonly KnownFormat[] = [
  ...READ.map(([format, match]) => ({ format, match, isRead: true })),
  ...UNREAD.map(([format, match]) => ({ format, match, isRead: false })),
];

function stemOf(
  name: string,
  isOwn: boolean,
  suffix: string,
): string | undefined {
  return isOwn && name.endsWith(suffix)
    ? name.slice(0, name.length - suffix.length)
    : undefined;
}

/** Matches `x.qweight` by its number of columns and that of `x.qzeros`, which are packed along different axes. */
function zeroed(fits: (packed: number, zeros: number) => boolean): Match {
  return ({ name, dtype, shape }, heads) => {
    const stem = stemOf(name, dtype === "I32", ".qweight");
    const zeros = stem === undefined ? undefined : heads.get(`${stem}.qzeros`);
    return zeros && fits(shape.at(-1)!, zeros.shape.at(-1)!) ? stem : undefined;
  };
}

/** Matches a tensor of `dtype` if the tensor with `other` in place of its `suffix` exists and `fits`. */
function pair(
  dtype: string,
  suffix: RegExp,
  other: string,
  fits: Fits = () => true,
): Match {
  return (head, heads) => {
    const matched = suffix.exec(head.name);
    if (head.dtype !== dtype || !matched) return undefined;
    const stem = head.name.slice(0, matched.index);
    const scales = heads.get(stem + other);
    return scales && fits(scales, head) ? stem.replace(/[._]$/, "") : undefined;
  };
}

/** Matches MLX's pair; integer formats also have biases. */
function mlx(hasBiases: boolean, fits?: Fits): Match {
  const match = pair("U32", WEIGHT, "scales", fits);
  return (head, heads) =>
    heads.has(head.name.replace(WEIGHT, "biases")) === hasBiases
      ? match(head, heads)
      : undefined;
}

/** Requires one scale per `elements` stored elements of a row. */
function groups(elements: number): Fits {
  return (scales, { shape }) =>
    scales.shape.at(-1) === shape.at(-1)! / elements;
}

function hasE4m3(scales: TensorHead): boolean {
  return scales.dtype === "F8_E4M3";
}

function hasExponents(scales: TensorHead): boolean {
  return scales.dtype === "F8_E8M0";
}
