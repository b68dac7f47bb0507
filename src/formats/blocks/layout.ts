/**
 * How files name and arrange a quantized tensor `x` [..., K], G = K/32:
 *
 *   gpt-oss             x_blocks u8 [..., G, 16], x_scales u8 [..., G]: transformers and OpenAI
 *   compressed-tensors  x_packed u8 [..., K/2], x_scale u8 [..., G]: the same bytes; a `weight` becomes
 *                       `weight_packed` and `weight_scale`
 *   ggml                x_ggml u8 [..., G, 17]: ggml's blocks {scale, 16 bytes}, element j in the low
 *                       nibble of byte j and element j + 16 in the high one
 */
import type { Layout } from "../../api/scheme.ts";
import { BLOCK_SIZE } from "../../kernels/mx.ts";
import { GGML_BLOCK_BYTES, packGgml, unpackGgml } from "../../kernels/mxfp4.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { Packed } from "./mxfp4.ts";
import type { Rows } from "./rows.ts";
import type { TensorHead } from "../tensor.ts";

export const BLOCK_BYTES = BLOCK_SIZE / 2;

/** The suffixes of a pair of tensors. */
export const PAIR_SUFFIXES = {
  "gpt-oss": ["_blocks", "_scales"],
  "compressed-tensors": ["_packed", "_scale"],
} as const;
/** As OpenAI's own files have them. */
export const DOTTED_SUFFIXES = [".blocks", ".scales"] as const;
export const GGML_SUFFIX = "_ggml";

/** The tensors, all U8, that stand for one of `name` and `shape`: elements and scales, or both in one. */
export function packedHeads(
  layout: Layout,
  name: string,
  shape: readonly number[],
  { padded }: Rows,
): TensorHead[] {
  const outer = shape.slice(0, -1);
  const groups = padded / BLOCK_SIZE;
  const u8 = (suffix: string, ...inner: number[]): TensorHead => ({
    name: name + suffix,
    dtype: "U8",
    shape: [...outer, ...inner],
  });
  if (layout === "ggml") return [u8(GGML_SUFFIX, groups, GGML_BLOCK_BYTES)];
  const [elements, scales] = PAIR_SUFFIXES[layout];
  const inner =
    layout === "gpt-oss" ? [groups, BLOCK_BYTES] : [groups * BLOCK_BYTES];
  return [u8(elements, ...inner), u8(scales, groups)];
}

/** ggml's blocks of a piece of `count` elements, a view. Inside `arena.scope`. */
export function toGgml(
  { elements, scales }: Packed,
  count: number,
): Uint8Array<ArrayBuffer> {
  const { arena } = kernels();
  const blocks = count / BLOCK_SIZE;
  const out = arena.alloc(blocks * GGML_BLOCK_BYTES);
  packGgml(out, elements, scales, blocks);
  return arena.u8(out, blocks * GGML_BLOCK_BYTES);
}

/** The inverse of `toGgml`, copied in. Inside `arena.scope`. */
export function fromGgml(bytes: Uint8Array): Packed {
  const { arena } = kernels();
  const blocks = bytes.length / GGML_BLOCK_BYTES;
  const elements = arena.alloc(blocks * BLOCK_BYTES);
  const scales = arena.alloc(blocks);
  unpackGgml(elements, scales, arena.copyIn(bytes), blocks);
  return { elements, scales };
}
