/**
 * A file to MXFP4, in one pass: a tensor's elements go out as they come, and only its scales are held
 * back until its end. Tensors keep their order.
 */
import { Conversion, type Section } from "../stream/conversion.ts";
import type { FloatDtype } from "../dtype.ts";
import { checkHeld, HoldPool } from "../stream/hold-pool.ts";
import type { TensorInput } from "../containers/input.ts";
import type { Layout } from "../../api/scheme.ts";
import { packedHeads } from "../blocks/layout.ts";
import { roundingKey, sortedPositions } from "../blocks/mxfp4.ts";
import {
  quantized,
  quantizedGgml,
  scaleBytes,
} from "../blocks/quantized-sections.ts";
import {
  checkUnrecorded,
  writeScheme,
  writeTensorRecord,
} from "../blocks/record.ts";
import { checkSize, rowsOf } from "../blocks/rows.ts";
import { writeHead } from "../containers/safetensors-writer.ts";
import type { Scheme } from "../../api/scheme.ts";
import {
  arrange,
  copiedTensor,
  droppedTensor,
  FILLER_PREFIX,
  type Written,
} from "../stream/sections.ts";
import { isChosen, type Selection } from "./selection.ts";
import type { TensorRange } from "../tensor.ts";

export type QuantizeChoices = {
  scheme: Scheme;
  layout: Layout;
  selection: Selection;
};

type ChosenTensor = TensorRange & { dtype: FloatDtype };

/**
 * Float tensors of at least one dimension become MXFP4, their rows padded with zeros to whole blocks
 * and segments; integer, 0-D and unselected ones pass through byte for byte, and with the ggml layout
 * those whose rows are not whole, as ggml does.
 * Errors: `unsupported_dtype`, `name_collision`, `shape_mismatch`, `body_too_large`
 */
export function planQuantize(
  { tensors, metadata }: TensorInput,
  { scheme, layout, selection }: QuantizeChoices,
): Conversion {
  checkUnrecorded(metadata.keys());
  const chosen = new Map<TensorRange, ChosenTensor>();
  for (const tensor of tensors) {
    if (isQuantized(tensor, selection, layout, scheme.hadamard))
      chosen.set(tensor, tensor);
  }
  const positions = sortedPositions(chosen.values());
  const pool = new HoldPool();
  const parts: Written[] = [];
  const records: [string, string][] = [];
  let padsRows = false;
  let heldBytes = 0;
  for (const [index, tensor] of tensors.entries()) {
    const float = chosen.get(tensor);
    const { name, dtype, shape, start, end } = tensor;
    if (name.startsWith(FILLER_PREFIX)) {
      parts.push(droppedTensor(tensor));
      continue;
    }
    if (!float) {
      parts.push(copiedTensor(tensor));
      continue;
    }
    const rows = rowsOf(shape, scheme.hadamard);
    checkSize(name, rows);
    const position = positions.get(name)!;
    const open = (): Section => {
      const key = roundingKey(scheme.seed, position);
      return layout === "ggml"
        ? quantizedGgml(rows, float.dtype, scheme, key)
        : quantized(rows, float.dtype, scheme, key, pool, index);
    };
    const heads = packedHeads(layout, name, shape, rows);
    parts.push({ bytes: end - start, open, heads });
    if (layout !== "ggml") {
      checkHeld(name, scaleBytes(rows));
      heldBytes = Math.max(heldBytes, scaleBytes(rows));
    }
    padsRows ||= rows.k !== rows.padded;
    records.push(
      writeTensorRecord({ name, dtype, shape }, position, rows.padded),
    );
  }
  const { heads, sections } = arrange(parts);
  const written = new Map([
    ...metadata,
    ...writeScheme(scheme, layout, selection, padsRows),
    ...records,
  ]);
  return new Conversion({
    ...writeHead(heads, written),
    sections,
    pool,
    heldBytes,
  });
}

function isQuantized(
  tensor: TensorRange,
  selection: Selection,
  layout: Layout,
  segmentLength: number,
): tensor is ChosenTensor {
  if (tensor.name.startsWith(FILLER_PREFIX)) return false;
  if (!isChosen(tensor, selection)) return false;
  if (layout !== "ggml") return true;
  const { k, padded } = rowsOf(tensor.shape, segmentLength);
  return k === padded;
}
