/**
 * How files name and store a quantized tensor `x` [..., K], G = K/32; other tensors are unchanged.
 *
 *   gpt-oss             x_blocks u8 [..., G, 16], x_scales u8 [..., G]: transformers
 *   openai              x.blocks and x.scales: the same, in OpenAI's own files
 *   compressed-tensors  MXFP4: x_packed u8 [..., K/2], x_scale u8 [..., G]: the same bytes; a `weight`
 *                       becomes `weight_packed` and `weight_scale`
 *                       MXFP8: x f8_e4m3 or f8_e5m2 [..., K], x_scale u8 [..., G]
 *   ggml                x_ggml u8 [..., G, 17]: ggml's blocks {scale, 16 bytes}, element j in the low
 *                       nibble of byte j and element j + 16 in the high one; in a GGUF its type MXFP4
 *   quark               x u8 [..., K/2], x_scale u8 [..., G]
 *   mlx                 x.weight u32 [..., K/8], or [..., K/4] of MXFP8: the same bytes; x.scales u8
 *   deepseek            x.weight i8 [..., K/2], x.scale f8_e8m0 [..., G]: DeepSeek-V4
 *   f4                  x f4 [..., K], x_scale f8_e8m0 [..., G]
 *
 * All that the code knows about a layout is its entry in this table.
 */
import { invalidOption } from "../../api/option-kinds.ts";
import type { FormatName, Layout } from "../../api/scheme.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { GGML_BLOCK_BYTES } from "../../kernels/mxfp4.ts";
import type { FileTarget } from "../containers/container.ts";
import type { StoredType } from "../dtype.ts";
import type { TensorHead } from "../tensor.ts";
import type { Rows } from "./block-rows.ts";

/** One of the stored tensors of `x`. */
export type Part = {
  /** The suffix of its name, which replaces the `base` of the name of `x`. */
  suffix: string;
  /** The dtype that is written first; the others are also read. */
  dtypes: readonly [StoredType, ...StoredType[]];
  /** The last dimensions, for G blocks; their number does not depend on G. */
  inner: (groups: number) => number[];
};

export type BlockLayout = {
  name: Layout;
  target: FileTarget["name"];
  format: FormatName;
  /** The ending that names of `x` must have. */
  base: string;
  /** Elements and scales, or one tensor of blocks that include their scales. */
  parts: readonly [Part] | readonly [elements: Part, scales: Part];
  /** Set if tensors whose rows are not whole blocks are not quantized. */
  wholeRows?: true;
};

const SCALE_TYPES = ["U8", "F8_E8M0"] as const;

function part(
  suffix: string,
  dtypes: Part["dtypes"],
  inner: Part["inner"],
): Part {
  return { suffix, dtypes, inner };
}

/** A part with one scale byte per block. */
function scales(suffix: string, dtypes: Part["dtypes"] = SCALE_TYPES): Part {
  return part(suffix, dtypes, (groups) => [groups]);
}

const USUAL = { target: "safetensors", format: "mxfp4", base: "" } as const;

/** The first layout of a target and format is its default. */
export const BLOCK_LAYOUTS: readonly BlockLayout[] = [
  {
    ...USUAL,
    name: "gpt-oss",
    parts: [part("_blocks", ["U8"], (g) => [g, 16]), scales("_scales", ["U8"])],
  },
  {
    ...USUAL,
    name: "openai",
    parts: [part(".blocks", ["U8"], (g) => [g, 16]), scales(".scales", ["U8"])],
  },
  {
    ...USUAL,
    name: "compressed-tensors",
    parts: [part("_packed", ["U8"], (g) => [16 * g]), scales("_scale")],
  },
  {
    ...USUAL,
    name: "ggml",
    parts: [part("_ggml", ["U8"], (g) => [g, GGML_BLOCK_BYTES])],
    wholeRows: true,
  },
  {
    ...USUAL,
    name: "ggml",
    target: "gguf",
    parts: [part("", ["MXFP4"], (g) => [32 * g])],
    wholeRows: true,
  },
  {
    ...USUAL,
    name: "compressed-tensors",
    format: "mxfp8-e4m3",
    parts: [part("", ["F8_E4M3"], (g) => [32 * g]), scales("_scale")],
  },
  {
    ...USUAL,
    name: "compressed-tensors",
    format: "mxfp8-e5m2",
    parts: [part("", ["F8_E5M2"], (g) => [32 * g]), scales("_scale")],
  },
  {
    ...USUAL,
    name: "quark",
    parts: [part("", ["U8"], (g) => [16 * g]), scales("_scale", ["U8"])],
  },
  {
    ...USUAL,
    name: "mlx",
    base: "weight",
    parts: [part("weight", ["U32"], (g) => [4 * g]), scales("scales", ["U8"])],
  },
  {
    ...USUAL,
    name: "mlx",
    format: "mxfp8-e4m3",
    base: "weight",
    parts: [part("weight", ["U32"], (g) => [8 * g]), scales("scales", ["U8"])],
  },
  {
    ...USUAL,
    name: "deepseek",
    base: "weight",
    parts: [
      part("weight", ["I8"], (g) => [16 * g]),
      scales("scale", ["F8_E8M0"]),
    ],
  },
  {
    ...USUAL,
    name: "f4",
    parts: [part("", ["F4"], (g) => [32 * g]), scales("_scale", ["F8_E8M0"])],
  },
];

/**
 * The layout for a target and format: by name, or the default. Errors: `invalid_option` if the format does not have
 * it there
 */
export function layoutOf(
  target: FileTarget["name"],
  format: FormatName,
  name?: Layout,
): BlockLayout {
  const written = BLOCK_LAYOUTS.filter((each) => each.target === target);
  const own = written.filter((each) => each.format === format);
  const what = target === "gguf" ? "GGUF" : format;
  if (own.length === 0) {
    const formats = [...new Set(written.map((each) => each.format))];
    throw invalidOption(
      `format ${formats.join(" or ")} for ${what}`,
      `"${format}"`,
    );
  }
  const layout = own.find((each) => name === undefined || each.name === name);
  if (layout) return layout;
  const names = own.map((each) => each.name);
  throw invalidOption(`layout ${names.join(" or ")} for ${what}`, `"${name}"`);
}

/** The names of the parts of `name`; undefined if the layout cannot name them. */
export function partNames(
  { base, parts }: BlockLayout,
  name: string,
): string[] | undefined {
  if (!name.endsWith(base)) return undefined;
  const stem = name.slice(0, name.length - base.length);
  return parts.map(({ suffix }) => stem + suffix);
}

/**
 * The stored tensors of a tensor; `remedy` is appended to errors. Errors: `invalid_option` if the layout cannot name
 * them
 */
export function packedHeads(
  layout: BlockLayout,
  name: string,
  shape: readonly number[],
  { padded }: Rows,
  remedy = "",
): TensorHead[] {
  const outer = shape.slice(0, -1);
  const names = partNames(layout, name);
  if (names === undefined) {
    throw invalidOption(
      `names that end in "${layout.base}" for layout ${layout.name}`,
      `"${name}"${remedy}`,
    );
  }
  return layout.parts.map(({ dtypes, inner }, i) => ({
    name: names[i]!,
    dtype: dtypes[0],
    shape: [...outer, ...inner(padded / BLOCK_SIZE)],
  }));
}
