/**
 * A file of blocks to floats, in one pass. Of two tensors that stand for one, the first to come is
 * held until the second does; the second then decodes piece by piece.
 */
import { decodedGgml, decodedPair } from "../blocks/decoded-sections.ts";
import { findPacked } from "../blocks/packed-tensors.ts";
import { isRecordKey } from "../blocks/quantization-record.ts";
import type { TensorFile } from "../containers/container.ts";
import type { DecodedDtype } from "../dtype.ts";
import type { Conversion } from "../stream/conversion.ts";
import { checkHeld, HoldPool } from "../stream/hold-pool.ts";
import { copiedTensor, kept, type Written } from "../stream/tensor-sections.ts";
import type { TensorRange } from "../tensor.ts";
import { mostOf } from "./most-of.ts";
import { nothingTo } from "./nothing-done.ts";

/**
 * Every quantized tensor becomes one of `dtype`; the rest passes through. A file without our metadata,
 * such as a gpt-oss checkpoint, has its tensors found by name and type.
 * Errors: `malformed_body`, `shape_mismatch`, `unsupported_dtype`, `name_collision`, `body_too_large`,
 * `nothing_to_convert`
 */
export function planDequantize(
  file: TensorFile,
  dtype: DecodedDtype,
): Conversion {
  const { scheme, packed } = findPacked(file);
  if (packed.length === 0)
    throw nothingTo(
      "dequantize",
      file.tensors,
      () => "not in blocks that are read",
    );
  const pool = new HoldPool();
  const written = new Map<TensorRange, Written>();
  /** By the part that comes first: what is held from there, and until which part. */
  const held = new Map<TensorRange, { bytes: number; until: TensorRange }>();
  for (const [index, tensor] of packed.entries()) {
    const { name, parts, shape } = tensor;
    const heads = [{ name, dtype, shape }];
    const [first, second] = parts.toSorted((a, b) => a.start - b.start);
    if (!second) {
      const bytes = first!.end - first!.start;
      const open = () => decodedGgml(tensor, dtype, scheme);
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
      open: () => decodedPair(tensor, dtype, scheme, hold, scalesLast),
      heads,
    });
  }
  const tensors = file.tensors.map(
    (tensor) => written.get(tensor) ?? copiedTensor(tensor),
  );
  return file.target.write(file, {
    tensors,
    keeps: (key) => !isRecordKey(key),
    mostly: mostOf(
      tensors.flatMap(({ heads }) => heads),
      dtype,
    ),
    pool,
    heldBytes: mostHeld(file.tensors, held),
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
