/** The quantized formats that files are known to be in, each with what tells its tensors: names, dtypes and shapes. */
import type { TensorHead } from "../tensor.ts";
import { FLOAT8_DTYPES, isMxfp8 } from "./fp8-scales.ts";

export type HeadsByName = ReadonlyMap<string, TensorHead>;

/** The weight that a tensor belongs to, or undefined where it is of none. */
type Match = (head: TensorHead, heads: HeadsByName) => string | undefined;

type KnownFormat = { format: string; match: Match; isRead: boolean };

/** The first that matches is meant. */
export const KNOWN_FORMATS: readonly KnownFormat[] = [
  ...read([
    [
      "MXFP4, gpt-oss",
      ({ name, dtype, shape }, heads) =>
        dtype === "U8" && shape.at(-1) === 16
          ? pair(name, heads, [
              /[._]blocks$/,
              (m) => m.replace("blocks", "scales"),
            ])
          : undefined,
    ],
    [
      "MXFP4, compressed-tensors",
      ({ name, dtype, shape }, heads) =>
        dtype === "U8"
          ? pair(name, heads, [/_packed$/, () => "_scale"], groups(shape, 16))
          : undefined,
    ],
    [
      "MXFP4, Quark",
      ({ name, dtype, shape }, heads) =>
        dtype === "U8"
          ? pair(
              name,
              heads,
              [/(?<=weight)$/, () => "_scale"],
              groups(shape, 16),
            )
          : undefined,
    ],
    [
      "MXFP4, MLX",
      ({ name, dtype, shape }, heads) =>
        dtype === "U32" && !heads.has(name.replace(/weight$/, "biases"))
          ? pair(name, heads, [/weight$/, () => "scales"], groups(shape, 4))
          : undefined,
    ],
    [
      "MXFP4, DeepSeek",
      ({ name, dtype }, heads) =>
        dtype === "I8"
          ? pair(
              name,
              heads,
              [/weight$/, () => "scale"],
              (scale) => scale.dtype === "F8_E8M0",
            )
          : undefined,
    ],
    [
      "MXFP4, F4 with E8M0 scales",
      ({ name, dtype }, heads) =>
        dtype === "F4"
          ? pair(
              name,
              heads,
              [/$/, () => "_scale"],
              (scale) => scale.dtype === "F8_E8M0",
            )
          : undefined,
    ],
    [
      "MXFP8, compressed-tensors",
      (head, heads) => {
        const scales = heads.get(`${head.name}_scale`);
        const isOwn =
          FLOAT8_DTYPES[head.dtype] && scales && isMxfp8(head, scales);
        return isOwn ? head.name : undefined;
      },
    ],
    [
      "MXFP8, MLX",
      ({ name, dtype, shape }, heads) =>
        dtype === "U32" && !heads.has(name.replace(/weight$/, "biases"))
          ? pair(name, heads, [/weight$/, () => "scales"], groups(shape, 8))
          : undefined,
    ],
    ["FP8", ({ name, dtype }) => (FLOAT8_DTYPES[dtype] ? name : undefined)],
    [
      "MXFP4, GGUF",
      ({ name, dtype }) => (dtype === "MXFP4" ? name : undefined),
    ],
  ]),
  ...unread([
    [
      "NVFP4, compressed-tensors",
      ({ name, dtype, shape }, heads) =>
        dtype === "U8"
          ? pair(name, heads, [/_packed$/, () => "_scale"], groups(shape, 8))
          : undefined,
    ],
    [
      "NVFP4, ModelOpt",
      ({ name, dtype, shape }, heads) =>
        dtype === "U8"
          ? pair(
              name,
              heads,
              [/(?<=weight)$/, () => "_scale"],
              (scale) => scale.dtype === "F8_E4M3" && groups(shape, 8)(scale),
            )
          : undefined,
    ],
    [
      "NVFP4, MLX",
      ({ name, dtype, shape }, heads) =>
        dtype === "U32" && !heads.has(name.replace(/weight$/, "biases"))
          ? pair(name, heads, [/weight$/, () => "scales"], groups(shape, 2))
          : undefined,
    ],
    [
      "INT4, compressed-tensors",
      ({ name, dtype }, heads) =>
        dtype === "I32"
          ? pair(name, heads, [/_packed$/, () => "_scale"])
          : undefined,
    ],
    [
      "INT8, compressed-tensors",
      ({ name, dtype }, heads) =>
        dtype === "I8"
          ? pair(
              name,
              heads,
              [/(?<=weight)$/, () => "_scale"],
              (scale) => scale.dtype !== "F8_E8M0",
            )
          : undefined,
    ],
    [
      "affine INT, MLX",
      ({ name, dtype }, heads) =>
        dtype === "U32" && heads.has(name.replace(/weight$/, "biases"))
          ? pair(name, heads, [/weight$/, () => "scales"])
          : undefined,
    ],
    ["INT4, AWQ", zeroed((packed, zeros) => packed === zeros)],
    ["INT8, GPTQ", zeroed((packed, zeros) => packed === 4 * zeros)],
    ["INT4, GPTQ", zeroed((packed, zeros) => packed === 8 * zeros)],
    ["GPTQ", ({ name, dtype }) => stemOf(name, dtype === "I32", ".qweight")],
    [
      "NF4 or FP4, bitsandbytes",
      ({ name, dtype }, heads) =>
        dtype === "U8" ? pair(name, heads, [/$/, () => ".absmax"]) : undefined,
    ],
    [
      "INT8, bitsandbytes",
      ({ name, dtype }, heads) =>
        dtype === "I8"
          ? pair(name, heads, [/weight$/, () => "SCB"])
          : undefined,
    ],
  ]),
];

function read(entries: readonly (readonly [string, Match])[]): KnownFormat[] {
  return entries.map(([format, match]) => ({ format, match, isRead: true }));
}

function unread(entries: readonly (readonly [string, Match])[]): KnownFormat[] {
  return entries.map(([format, match]) => ({ format, match, isRead: false }));
}

function stemOf(
  name: string,
  isOwn: boolean,
  suffix: string,
): string | undefined {
  return isOwn && name.endsWith(suffix)
    ? name.slice(0, name.length - suffix.length)
    : undefined;
}

/** `x.qweight` by how many columns it and `x.qzeros` have: both are packed along other axes. */
function zeroed(fits: (packed: number, zeros: number) => boolean): Match {
  return ({ name, dtype, shape }, heads) => {
    const stem = stemOf(name, dtype === "I32", ".qweight");
    const zeros = stem === undefined ? undefined : heads.get(`${stem}.qzeros`);
    return zeros && fits(shape.at(-1)!, zeros.shape.at(-1)!) ? stem : undefined;
  };
}

/** The weight's name where the other tensor of its pair is there, and as `fits` wants it. */
function pair(
  name: string,
  heads: HeadsByName,
  [suffix, other]: [RegExp, (matched: string) => string],
  fits: (scales: TensorHead) => boolean = () => true,
): string | undefined {
  const matched = suffix.exec(name);
  if (!matched) return undefined;
  const stem = name.slice(0, matched.index);
  const scales = heads.get(stem + other(matched[0]));
  return scales && fits(scales) ? stem.replace(/[._]$/, "") : undefined;
}

/** Scales that are one for each `elements` of a row's stored ones. */
function groups(
  shape: readonly number[],
  elements: number,
): (scales: TensorHead) => boolean {
  return (scales) => scales.shape.at(-1) === shape.at(-1)! / elements;
}
