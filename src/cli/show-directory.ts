/** The output of `quantize --show`: what each tensor of a directory becomes, and why. */
import { headBytes } from "../checkpoints/shards.ts";
import type { DecidedDirectory } from "../checkpoints/decide-directory.ts";
import {
  decidedBytes,
  type DecidedGguf,
} from "../checkpoints/gguf/decide-gguf.ts";
import { storedDtype } from "../checkpoints/gguf/made-tensors.ts";
import { packedBytes } from "../checkpoints/shards.ts";
import { alignedRows } from "./aligned-rows.ts";
import { byteSize } from "../api/byte-size.ts";

const HEAD = ["tensor", "dtype", "shape", "becomes", "bytes", "why"];

export function showDirectory(
  { tensors, decisions }: DecidedDirectory,
  asJson: boolean,
): string {
  const shown = tensors.map((tensor, i) => {
    const { name, dtype, shape } = tensor;
    const { role, packed, layout, reason } = decisions[i]!;
    const bytes = packed ? packedBytes(tensor) : headBytes(tensor);
    const becomes = packed ? layout! : null;
    return { name, dtype, shape, role, becomes, bytes, reason };
  });
  if (asJson) return JSON.stringify({ tensors: shown }, null, 2);
  const rows = shown.map(({ name, dtype, shape, becomes, bytes, reason }) => [
    name,
    dtype,
    shape.join(" × "),
    becomes === null ? "stays" : `MXFP4, ${becomes}`,
    byteSize(bytes),
    reason,
  ]);
  return alignedRows([HEAD, ...rows], [0, 1, 2, 3, 5]);
}

const GGUF_HEAD = ["tensor", "of", "shape", "becomes", "bytes", "why"];

/** Tensors as in llama.cpp's files. */
export function showGguf({ tensors }: DecidedGguf, asJson: boolean): string {
  const shown = tensors.map((tensor) => {
    const { name, shape, sources, becomes, reason } = tensor;
    const dtype = storedDtype(tensor);
    const bytes = decidedBytes(tensor);
    return { name, sources, dtype, shape, becomes, bytes, reason };
  });
  if (asJson) return JSON.stringify({ tensors: shown }, null, 2);
  const rows = shown.map((each) => {
    const { name, sources, dtype, shape, becomes, bytes, reason } = each;
    const [first, ...others] = sources;
    const from =
      others.length > 0 ? `${first} and ${others.length} more` : first!;
    return [
      name,
      from,
      shape.join(" × "),
      becomes === dtype ? `stays ${dtype}` : becomes,
      byteSize(bytes),
      reason,
    ];
  });
  return alignedRows([GGUF_HEAD, ...rows], [0, 1, 2, 3, 5]);
}
