/** What a GGUF is called after: llama.cpp's "mostly MXFP4" is of the matrices, the vocabulary's apart. */
import type { StoredType } from "../dtype.ts";
import { ggufRole } from "../roles/gguf-rules.ts";
import { elementCount, type TensorHead } from "../tensor.ts";

/**
 * The type of most of the elements of matrices; of all tensors where there is no matrix, and `preferred`
 * where as many are of another.
 */
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
