/**
 * Quantizes a file in one pass: a tensor's elements are output as they are computed; only its scales are held until
 * its end. Tensors keep their order.
 */
import type { GgufOutput, Layout, Scheme } from "../../api/scheme.ts";
import { AppError } from "../../api/errors.ts";
import { checkScheme } from "../blocks/block-formats.ts";
import { floatView } from "../blocks/float8-file.ts";
import { layoutOf, packedHeads } from "../blocks/block-layouts.ts";
import { roundingKey, sortedPositions } from "../blocks/block-pieces.ts";
import { checkSize, rowsOf } from "../blocks/block-rows.ts";
import {
  checkUnrecorded,
  ggufRecords,
  isRecordKey,
  nonfiniteRecord,
  writeScheme,
  writeTensorRecord,
} from "../blocks/quantization-record.ts";
import {
  converted,
  ggmlBlocks,
  Q8_BLOCKS,
  quantized,
  scaleBytes,
} from "../blocks/quantized-sections.ts";
import { refloated } from "../blocks/float-sections.ts";
import { watched } from "../blocks/nonfinite.ts";
import { watchedTensor } from "../blocks/watched-copy.ts";
import { notPlain } from "../blocks/scheme.ts";
import type { TensorFile } from "../containers/container.ts";
import type { Conversion, Section } from "../stream/conversion.ts";
import { checkHeld, HoldPool } from "../stream/hold-pool.ts";
import type { Written } from "../stream/tensor-sections.ts";
import { mostOf } from "./most-of.ts";
import type { ValueWatch } from "./nonfinite-values.ts";
import { isNamed, type Selection } from "./name-patterns.ts";
import { checkSources, chooseAll, rolesOf } from "./selection-rules.ts";
import { STORED_TYPES, type TypeRule } from "./tensor-types.ts";

export type QuantizeChoices = {
  scheme: Scheme;
  /** Default: the first layout of the format and target. */
  layout?: Layout | undefined;
  selection: Selection;
  /** Type of a GGUF's output head and token table. */
  output?: GgufOutput;
  /** Types of a GGUF's tensors by name. */
  types?: readonly TypeRule[];
};

/**
 * Quantizes float tensors of at least one dimension, including FP8 with scales; in a model, only the weights of
 * linear layers. Rows are padded with zeros to whole blocks and segments. Integer, 0-D and unselected tensors are
 * copied, and in ggml's layout also those whose rows are not whole blocks, like ggml. For a GGUF, see
 * selection-rules.ts. Errors: those of `chooseAll`; `name_collision`, `shape_mismatch`, `body_too_large`,
 * `invalid_option` for a layout that the format does not have in this target, and for options that no GGUF reader
 * would undo
 */
export function planQuantize(
  file: TensorFile,
  choices: QuantizeChoices,
  { watch, record }: ValueWatch = {},
): Conversion {
  const { scheme, layout: name, selection } = choices;
  const { output = "q8_0", types = [] } = choices;
  checkSources(file, selection);
  const view = floatView(file, (each) => isNamed(each, selection));
  const { target, tensors, metadata } = view.file;
  checkScheme(scheme);
  const layout = layoutOf(target.name, scheme.format, name);
  if (target.isPlain) checkPlain(scheme);
  checkUnrecorded(metadata.keys());
  const choice = { ...selection, output, types, roles: rolesOf(view.file) };
  const chosen = chooseAll(view.file, choice, "quantize", ({ shape }) => {
    const { k, padded } = rowsOf(shape, scheme.hadamard);
    return layout.wholeRows && k !== padded
      ? `rows of ${k}, which layout ${layout.name} does not pad to whole blocks`
      : undefined;
  });
  const positions = sortedPositions(file.tensors);
  const pool = new HoldPool();
  const records: [string, string][] = [];
  let padsRows = false;
  let heldBytes = 0;
  const parts = tensors.map((tensor, index): Written | undefined => {
    const found = chosen[index];
    if (found === undefined) return undefined;
    const { name, dtype, shape, start, end } = found.tensor;
    const bytes = end - start;
    const rows = rowsOf(shape, scheme.hadamard);
    if (found.becomes === "q8_0") {
      const heads = [{ name, dtype: "Q8_0" as const, shape }];
      const open = () =>
        watched(found.tensor, { reads: dtype }, watch, (lost) =>
          converted(rows, dtype, Q8_BLOCKS, lost),
        );
      return { bytes, open, heads };
    }
    if (found.becomes !== "blocks") {
      const to = STORED_TYPES[found.becomes];
      const heads = [{ name, dtype: to, shape }];
      const open = () =>
        watched(found.tensor, { reads: dtype, writes: to }, watch, (lost) =>
          refloated(rows, dtype, to, lost),
        );
      return { bytes, open, heads };
    }
    checkSize(name, rows);
    const position = positions.get(name)!;
    const hasOwnScales = layout.parts.length === 1;
    const open = (): Section => {
      const key = roundingKey(scheme.seed, position);
      return watched(found.tensor, { reads: dtype }, watch, (lost) =>
        hasOwnScales
          ? converted(rows, dtype, ggmlBlocks(scheme, key), lost)
          : quantized(rows, dtype, scheme, key, pool, index, { lost }),
      );
    };
    if (!hasOwnScales) {
      checkHeld(name, scaleBytes(rows));
      heldBytes = Math.max(heldBytes, scaleBytes(rows));
    }
    padsRows ||= rows.k !== rows.padded;
    records.push(writeTensorRecord(tensor, position, rows.padded));
    const remedy = "; `exclude` lets it pass through";
    const heads = packedHeads(layout, name, shape, rows, remedy);
    return { bytes, open, heads };
  });
  // Tensors not selected may not be weights: a mask has infinities.
  const woven = view.weave(parts, pool, (tensor) =>
    watchedTensor(tensor, isNamed(tensor.name, selection) ? watch : undefined),
  );
  return target.write(file, {
    tensors: woven.tensors,
    keeps: (key) => !isRecordKey(key),
    adds: [
      ...writeScheme(scheme, layout.name, selection, padsRows),
      // In a GGUF, each tensor's type tells its format.
      ...(target.isPlain
        ? ggufRecords(
            output,
            types.map(({ text }) => text),
          )
        : records),
      ...(record === undefined ? [] : [nonfiniteRecord(record)]),
    ],
    mostly: mostOf(
      woven.tensors.flatMap(({ heads }) => heads),
      layout.parts[0].dtypes[0],
    ),
    pool,
    heldBytes: heldBytes + woven.heldBytes,
  });
}

/** Errors: `invalid_option` for options that no GGUF reader would undo */
export function checkPlain(scheme: Scheme): void {
  const [reason] = notPlain(scheme, false);
  if (reason === undefined) return;
  throw new AppError(
    "invalid_option",
    `Expected prescale=1 and hadamard=0 for GGUF, whose readers decode plainly; ${reason}`,
  );
}
