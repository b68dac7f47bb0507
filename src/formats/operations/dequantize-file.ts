/** Dequantizes a file in one pass. */
import { oneRow } from "../blocks/block-rows.ts";
import { floatView } from "../blocks/float8-file.ts";
import { checkRead } from "../blocks/foreign-formats.ts";
import { type Watch, watched } from "../blocks/nonfinite.ts";
import { decoded, decodedElements } from "../blocks/packed-sections.ts";
import { findPacked } from "../blocks/packed-tensors.ts";
import { writeBlocks } from "../blocks/paired-parts.ts";
import { isRecordKey } from "../blocks/quantization-record.ts";
import { refloated } from "../blocks/float-sections.ts";
import type { TensorFile } from "../containers/container.ts";
import type { DecodedDtype } from "../dtype.ts";
import type { Conversion } from "../stream/conversion.ts";
import { HoldPool } from "../stream/hold-pool.ts";
import type { Written } from "../stream/tensor-sections.ts";
import { hasElements, type TensorRange } from "../tensor.ts";
import { mostOf } from "./most-of.ts";
import { keptRecord, type ValueWatch } from "./nonfinite-values.ts";
import { nothingTo } from "./nothing-done.ts";

/**
 * Quantized tensors, and FP8 with scales, become `dtype`; the rest is copied. In a file without our metadata, such as
 * a gpt-oss checkpoint, tensors are found by name and type. Errors: `malformed_body`, `shape_mismatch`,
 * `unsupported_dtype`, `name_collision`, `body_too_large`, `nothing_to_convert`
 */
export function planDequantize(
  file: TensorFile,
  dtype: DecodedDtype,
  { watch, record }: ValueWatch = {},
): Conversion {
  checkRead(file);
  // FP8 without a scale is copied.
  const view = floatView(file, () => false);
  const { tensors } = view.file;
  const { scheme, packed } = findPacked(view.file);
  const scaled = tensors.filter(view.isScaled);
  if (![...packed, ...scaled].some(hasElements))
    throw nothingTo("dequantize", file.tensors, (tensor) =>
      hasElements(tensor) ? "not in blocks that are read" : "without elements",
    );
  const pool = new HoldPool();
  const { written, heldBytes } = writeBlocks(
    tensors,
    packed,
    pool,
    (tensor) => ({
      heads: [{ name: tensor.name, dtype, shape: tensor.shape }],
      open: (source) => {
        const elements = decodedElements(tensor.rows);
        return watched(tensor, { writes: dtype, elements }, watch, (lost) =>
          decoded(tensor, source, dtype, scheme, lost),
        );
      },
    }),
  );
  const asFloats = (tensor: TensorRange): Written | undefined =>
    view.isScaled(tensor) ? floatsOf(tensor, dtype, watch) : undefined;
  const woven = view.weave(
    tensors.map((tensor) => written.get(tensor) ?? asFloats(tensor)),
    pool,
  );
  return file.target.write(file, {
    tensors: woven.tensors,
    keeps: (key) => !isRecordKey(key),
    adds: keptRecord(record),
    mostly: mostOf(
      woven.tensors.flatMap(({ heads }) => heads),
      dtype,
    ),
    pool,
    heldBytes: heldBytes + woven.heldBytes,
  });
}

/** The output for a tensor that is read as F32. */
function floatsOf(
  tensor: TensorRange,
  dtype: DecodedDtype,
  watch: Watch | undefined,
): Written {
  const { name, shape, start, end } = tensor;
  return {
    bytes: end - start,
    open: () =>
      watched(tensor, { reads: "F32", writes: dtype }, watch, (lost) =>
        refloated(oneRow(shape), "F32", dtype, lost),
      ),
    heads: [{ name, dtype, shape }],
  };
}
