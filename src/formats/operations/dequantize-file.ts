/** A file of blocks to floats, in one pass. */
import { decoded } from "../blocks/packed-sections.ts";
import { findPacked } from "../blocks/packed-tensors.ts";
import { writeBlocks } from "../blocks/paired-parts.ts";
import { isRecordKey } from "../blocks/quantization-record.ts";
import type { TensorFile } from "../containers/container.ts";
import type { DecodedDtype } from "../dtype.ts";
import type { Conversion } from "../stream/conversion.ts";
import { HoldPool } from "../stream/hold-pool.ts";
import { copiedTensor } from "../stream/tensor-sections.ts";
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
  const { written, heldBytes } = writeBlocks(
    file.tensors,
    packed,
    pool,
    (tensor) => ({
      heads: [{ name: tensor.name, dtype, shape: tensor.shape }],
      open: (source) => decoded(tensor, source, dtype, scheme),
    }),
  );
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
    heldBytes,
  });
}
