/**
 * An MXFP4 file to floats, in one pass. Of the two tensors that stand for one, the first to come is
 * held until the second does; the second then decodes piece by piece.
 */
import { Conversion } from "../stream/conversion.ts";
import { decodedGgml, decodedPair } from "../blocks/decoded-sections.ts";
import type { DecodedDtype } from "../dtype.ts";
import { checkHeld, HoldPool } from "../stream/hold-pool.ts";
import type { TensorInput } from "../containers/input.ts";
import { findPacked } from "../blocks/packed-tensors.ts";
import { withoutRecord } from "../blocks/record.ts";
import { writeHead } from "../containers/safetensors-writer.ts";
import {
  arrange,
  copiedTensor,
  droppedTensor,
  FILLER_PREFIX,
  kept,
  type Written,
} from "../stream/sections.ts";
import type { TensorRange } from "../tensor.ts";

/**
 * Every MXFP4 tensor becomes one of `dtype`; the rest passes through. A file without our metadata,
 * such as a gpt-oss checkpoint, has its pairs found by name.
 * Errors: `malformed_body`, `shape_mismatch`, `unsupported_dtype`, `name_collision`, `body_too_large`
 */
export function planDequantize(
  { tensors, metadata }: TensorInput,
  dtype: DecodedDtype,
): Conversion {
  const { scheme, packed } = findPacked(tensors, metadata);
  const pool = new HoldPool();
  const written = new Map<TensorRange, Written>();
  /** By the part that comes first: what is held from there, and until which part. */
  const held = new Map<TensorRange, { bytes: number; until: TensorRange }>();
  for (const [index, { name, parts, shape, rows }] of packed.entries()) {
    const heads = [{ name, dtype, shape }];
    const [first, second] = parts.toSorted((a, b) => a.start - b.start);
    if (!second) {
      const bytes = first!.end - first!.start;
      const open = () => decodedGgml(rows, dtype, scheme);
      written.set(first!, { bytes, open, heads });
      continue;
    }
    const hold = { pool, index, bytes: first!.end - first!.start };
    checkHeld(name, hold.bytes);
    held.set(first!, { bytes: hold.bytes, until: second });
    written.set(first!, {
      bytes: hold.bytes,
      open: () => kept(hold.bytes, pool, index),
      heads: [],
    });
    const scalesLast = second === parts[1];
    written.set(second, {
      bytes: second.end - second.start,
      open: () => decodedPair(rows, dtype, scheme, hold, scalesLast),
      heads,
    });
  }
  const heldBytes = mostHeld(tensors, held);

  const { heads, sections } = arrange(
    tensors.map((tensor) =>
      tensor.name.startsWith(FILLER_PREFIX)
        ? droppedTensor(tensor)
        : (written.get(tensor) ?? copiedTensor(tensor)),
    ),
  );
  return new Conversion({
    ...writeHead(heads, withoutRecord(metadata)),
    sections,
    pool,
    heldBytes,
  });
}

/** The most bytes held at once, over all tensors. */
function mostHeld(
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
