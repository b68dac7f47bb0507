/** Converts a quantized file to another layout in one pass, with the same codes and scales, without decoding. */
import { AppError } from "../../api/errors.ts";
import type { Layout } from "../../api/scheme.ts";
import {
  type BlockLayout,
  layoutOf,
  packedHeads,
} from "../blocks/block-layouts.ts";
import { checkRead, formatsOf } from "../blocks/foreign-formats.ts";
import { watchedScales } from "../blocks/nonfinite.ts";
import { interleaved, separated } from "../blocks/packed-sections.ts";
import {
  findPacked,
  isInLayout,
  type PackedTensor,
} from "../blocks/packed-tensors.ts";
import { writeBlocks } from "../blocks/paired-parts.ts";
import { isRecorded, layoutRecord } from "../blocks/quantization-record.ts";
import { scaleBytes } from "../blocks/quantized-sections.ts";
import type { TensorFile } from "../containers/container.ts";
import type { Conversion } from "../stream/conversion.ts";
import { checkHeld, HoldPool } from "../stream/hold-pool.ts";
import {
  copied,
  copiedTensor,
  type Written,
} from "../stream/tensor-sections.ts";
import { hasElements, type TensorHead, type TensorRange } from "../tensor.ts";
import { keptRecord, type ValueWatch } from "./nonfinite-values.ts";
import { nothingTo } from "./nothing-done.ts";

/**
 * Quantized tensors are converted to layout `name`; the rest is copied. The metadata is kept, except for the layout.
 * Errors: those of `findPacked`; `invalid_option` for a layout that a tensor's format or name does not have;
 * `nothing_to_convert`, `name_collision`, `body_too_large`
 */
export function planRepack(
  file: TensorFile,
  name: Layout,
  { watch, record }: ValueWatch = {},
): Conversion {
  checkRead(file);
  const { packed } = findPacked(file);
  const target = (tensor: PackedTensor): BlockLayout =>
    layoutOf(file.target.name, tensor.layout.format, name);
  const moving = packed.filter((tensor) => !isInLayout(tensor, target(tensor)));
  if (!moving.some(hasElements))
    throw nothingToMove(file, name, packed.filter(hasElements).length);
  const joined = (tensor: PackedTensor) => target(tensor).parts.length === 1;
  const pool = new HoldPool();
  const { written, heldBytes } = writeBlocks(
    file.tensors,
    moving.filter(joined),
    pool,
    (tensor) => ({
      heads: headsOf(tensor, target(tensor)),
      open: (source) => interleaved(tensor, source, watch),
    }),
  );
  let mostScales = 0;
  for (const [index, tensor] of moving.entries()) {
    if (joined(tensor)) continue;
    const heads = headsOf(tensor, target(tensor));
    const { parts, rows } = tensor;
    if (parts.length === 1) {
      checkHeld(tensor.name, scaleBytes(rows));
      mostScales = Math.max(mostScales, scaleBytes(rows));
      written.set(parts[0]!, {
        bytes: bytesOf(parts[0]!),
        open: () => separated(tensor, pool, index, watch),
        heads,
      });
      continue;
    }
    const [elements, scales] = parts;
    written.set(elements, moved(elements, heads[0]!));
    const copy = moved(scales!, heads[1]!);
    const open = () => watchedScales(tensor, copy.open(), watch);
    written.set(scales!, { ...copy, open });
  }
  return file.target.write(file, {
    tensors: file.tensors.map(
      (tensor) => written.get(tensor) ?? copiedTensor(tensor),
    ),
    keeps: () => true,
    adds: [
      ...(isRecorded(file.metadata) ? [layoutRecord(name)] : []),
      ...keptRecord(record),
    ],
    pool,
    heldBytes: Math.max(heldBytes, mostScales),
  });
}

/** The stored tensors in a layout, with the blocks' padded shape. */
function headsOf({ name, shape, rows }: PackedTensor, layout: BlockLayout) {
  return packedHeads(layout, name, shape, rows);
}

function bytesOf({ start, end }: TensorRange): number {
  return end - start;
}

/** Copies the bytes of a part under another name, dtype and shape. */
function moved(part: TensorRange, head: TensorHead): Written {
  const bytes = bytesOf(part);
  return { bytes, open: () => copied(bytes), heads: [head] };
}

function nothingToMove(
  { tensors }: TensorFile,
  layout: Layout,
  packed: number,
): AppError {
  if (packed === 0) {
    const formatOf = formatsOf(tensors);
    return nothingTo("repack", tensors, (tensor) => {
      const format = formatOf(tensor);
      if (!hasElements(tensor)) return "without elements";
      return format ? `${format}, no MX blocks` : "not in blocks that are read";
    });
  }
  return new AppError(
    "nothing_to_convert",
    `Expected tensors in another layout than ${layout}, got ${packed} that are in it`,
  );
}
