/** Tensors stored in two parts: the first to arrive is held until the second arrives. */
import type { Section } from "../stream/conversion.ts";
import { checkHeld, type HoldPool } from "../stream/hold-pool.ts";
import { kept, type Written } from "../stream/tensor-sections.ts";
import type { TensorHead, TensorRange } from "../tensor.ts";
import {
  type BlockSource,
  GGML_SOURCE,
  pairSource,
} from "./packed-sections.ts";
import type { PackedTensor } from "./packed-tensors.ts";

/** The output for a quantized tensor. */
export type Becoming = {
  heads: readonly TensorHead[];
  open: (source: BlockSource) => Section;
};

/**
 * The output in place of the parts of `packed`, and the most bytes held at once. Errors: `body_too_large` if that is
 * more than an isolate can hold
 */
export function writeBlocks(
  tensors: readonly TensorRange[],
  packed: readonly PackedTensor[],
  pool: HoldPool,
  become: (tensor: PackedTensor) => Becoming,
): { written: Map<TensorRange, Written>; heldBytes: number } {
  const written = new Map<TensorRange, Written>();
  /** By the first part: the bytes held from there, and until which part. */
  const held = new Map<TensorRange, { bytes: number; until: TensorRange }>();
  for (const [index, tensor] of packed.entries()) {
    const { heads, open } = become(tensor);
    const { name, parts } = tensor;
    const [first, second] = parts.toSorted((a, b) => a.start - b.start);
    const bytes = first!.end - first!.start;
    if (!second) {
      written.set(first!, { bytes, open: () => open(GGML_SOURCE), heads });
      continue;
    }
    checkHeld(name, bytes);
    held.set(first!, { bytes, until: second });
    written.set(first!, {
      bytes,
      open: () => kept(bytes, pool, index),
      heads: [],
    });
    const hold = { pool, index, bytes };
    const scalesLast = second === parts[1];
    written.set(second, {
      bytes: second.end - second.start,
      open: () => open(pairSource(tensor, hold, scalesLast)),
      heads,
    });
  }
  return { written, heldBytes: mostHeld(tensors, held) };
}

/** The most bytes held at once, over all tensors. Errors: `body_too_large` */
export function mostHeld(
  tensors: readonly TensorRange[],
  held: ReadonlyMap<TensorRange, { bytes: number; until: TensorRange }>,
): number {
  let [now, most] = [0, 0];
  const ends = new Map<TensorRange, number>();
  for (const tensor of tensors) {
    const start = held.get(tensor);
    if (start) {
      now += start.bytes;
      ends.set(start.until, start.bytes);
      checkHeld(tensor.name, now);
      most = Math.max(most, now);
    }
    now -= ends.get(tensor) ?? 0;
  }
  return most;
}
