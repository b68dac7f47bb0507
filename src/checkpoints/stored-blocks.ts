/** The quantized and FP8 tensors of a checkpoint, whatever files their parts are in. */
import { AppError } from "../api/errors.ts";
import {
  recognizeFormats,
  refuseUnread,
} from "../formats/blocks/foreign-formats.ts";
import type { Float8Tensor } from "../formats/blocks/fp8-scales.ts";
import {
  findPacked,
  type PackedTensor,
} from "../formats/blocks/packed-tensors.ts";
import { SAFETENSORS } from "../formats/containers/safetensors-file.ts";
import type { TensorHead } from "../formats/tensor.ts";
import type { Checkpoint, CheckpointTensor } from "./checkpoint.ts";
import { viewFloat8 } from "./float8-parts.ts";
import { checkNoLoneParts } from "./lone-parts.ts";

export type StoredBlocks = {
  packed: readonly PackedTensor[];
  /** By the weight's name. */
  float8: ReadonlyMap<string, Float8Tensor>;
  /** Tensors that are not parts of these. */
  others: readonly CheckpointTensor[];
};

/**
 * Errors: `invalid_option` for files whose record says that decoding needs more than blocks and scales,
 * `unsupported_dtype` for unsupported formats; those of `checkNoLoneParts`, `findPacked` and `findFloat8`
 */
export function storedBlocks({
  tensors,
  recorded,
  config,
}: Checkpoint): StoredBlocks {
  if (recorded !== undefined)
    throw new AppError(
      "invalid_option",
      `Expected files that decode plainly in a directory, got ${recorded}, which tells how it was quantized: dequantize it alone`,
    );
  refuseUnread(tensors);
  const { packed } = findPacked({
    target: SAFETENSORS,
    tensors,
    metadata: new Map(),
  });
  checkNoLoneParts(tensors, packed);
  const taken = new Set<TensorHead>(packed.flatMap(({ parts }) => parts));
  const left = tensors.filter((tensor) => !taken.has(tensor));
  const { tensors: seen, float8 } = viewFloat8(left, config);
  const others = seen.filter(({ name }) => !float8.has(name));
  const [unread] = recognizeFormats(others);
  if (unread === undefined) return { packed, float8, others };
  throw new AppError(
    "invalid_option",
    `Expected blocks of MXFP4 or MXFP8 alone, got ${unread.format} too, as "${unread.example}"`,
  );
}
