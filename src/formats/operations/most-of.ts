/** The main type of a GGUF, as in llama.cpp's "mostly MXFP4": that of its matrices, without the vocabulary's. */
import type { StoredType } from "../dtype.ts";
import { ggufRole } from "../roles/gguf-rules.ts";
import { elementCount, type TensorHead } from "../tensor.ts";

/** The type of most elements in matrices, or in all tensors if there is no matrix; `preferred` in case of a tie. */
export function mostOf(
  heads: readonly TensorHead[],
  preferred: StoredType,
): StoredType {
  const matrices = heads.filter(({ name, shape }) => {
    const isMatrix = shape.filter((size) => size > 1).length >= 2;
    return isMatrix && ggufRole(name, shape.toReversed()).kind !== "vocabulary";
  });
  const counts = new Map<StoredType, number>([[preferred, 0]]);
  for (const { dtype, shape } of matrices.length > 0 ? matrices : heads)
    counts.set(dtype, (counts.get(dtype) ?? 0) + elementCount(shape));
  let most = preferred;
  for (const [dtype, count] of counts)
    if (count > counts.get(most)!) most = dtype;
  return most;
}
