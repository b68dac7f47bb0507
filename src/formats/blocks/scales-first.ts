/**
 * Reorders a file's tensors, for a source with random access: the scales of a pair before its elements. Decoding then
 * only holds scales, a fraction of the elements, whatever the file's order.
 */
import type { TensorFile } from "../containers/container.ts";
import type { TensorRange } from "../tensor.ts";
import { findFloat8 } from "./fp8-scales.ts";
import { findPacked } from "./packed-tensors.ts";

/** A stretch of the reordered data, and its position in the file. */
export type MovedStretch = { start: number; end: number; from: number };

/** `pairs` tells which kinds are reordered. Errors: those of `findPacked` for blocks, of `findFloat8` for FP8 */
export function scalesFirst(
  file: TensorFile,
  pairs: { blocks: boolean; float8: boolean },
): {
  file: TensorFile;
  stretches: MovedStretch[];
} {
  const packed = pairs.blocks ? findPacked(file).packed : [];
  const float8 = pairs.float8 ? findFloat8(file.tensors) : [];
  const scalesOf = new Map<TensorRange, TensorRange | undefined>([
    ...packed.map(({ parts }) => [parts[0]!, parts[1]] as const),
    ...float8.map(({ weight, scale }) => [weight, scale?.tensor] as const),
  ]);
  if (![...scalesOf.values()].some(Boolean)) return { file, stretches: [] };
  const ordered = new Set<TensorRange>();
  for (const tensor of file.tensors) {
    const scales = scalesOf.get(tensor);
    if (scales) ordered.add(scales);
    ordered.add(tensor);
  }
  const stretches: MovedStretch[] = [];
  let position = 0;
  const tensors = Array.from(ordered, (tensor) => {
    const start = position;
    const end = (position += tensor.end - tensor.start);
    stretches.push({ start, end, from: tensor.start });
    return { ...tensor, start, end };
  });
  return { file: { ...file, tensors, dataBytes: position }, stretches };
}
