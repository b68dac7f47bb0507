/** Splits a directory's tensors into files, with an index. */
import { AppError } from "../api/errors.ts";
import { MAX_TENSORS } from "../formats/containers/safetensors-json.ts";
import { type Dtype, DTYPE_BITS, dtypeBytes } from "../formats/dtype.ts";
import { elementCount, type TensorHead } from "../formats/tensor.ts";
import type { Conversion } from "../formats/stream/conversion.ts";
import {
  type CheckpointTensor,
  INDEX_FILE,
  SINGLE_FILE,
} from "./checkpoint.ts";
import type { Norms } from "./fold.ts";
import { BLOCK_SIZE } from "../kernels/mx.ts";

export type Shard = { file: string; tensors: TensorHead<Dtype>[] };

/** An output file. */
export type PlannedShard = {
  file: string;
  heads: readonly TensorHead<Dtype>[];
  /** Input of `conversion`, in order. */
  reads: readonly CheckpointTensor[];
  /** The output by tensors of the model. */
  groups: readonly { name: string; heads: readonly TensorHead<Dtype>[] }[];
  conversion: (norms: Norms) => Conversion;
};

/** Bytes of all tensors, without the files' headers. */
export function dataBytes(shards: readonly PlannedShard[]): number {
  return bytesOfHeads(shards.flatMap(({ heads }) => heads));
}

export function bytesOfHeads(heads: readonly TensorHead<Dtype>[]): number {
  return heads.reduce((sum, head) => sum + headBytes(head), 0);
}

export function headBytes({ dtype, shape }: TensorHead<Dtype>): number {
  return dtypeBytes(dtype, elementCount(shape));
}

/** 17 bytes per block: 16 of elements, one of scale. */
export function packedBytes({ shape }: Pick<TensorHead, "shape">): number {
  return (elementCount(shape) / BLOCK_SIZE) * 17;
}

/**
 * Splits tensors, in order, into files with at most `most` bytes and as many tensors as a header may have. A group, the
 * parts of one weight, is kept in one file. Errors: `invalid_option` if a group is larger than a file
 */
export function shardsOf(
  groups: readonly (readonly TensorHead<Dtype>[])[],
  most: number,
): Shard[] {
  const parts: TensorHead<Dtype>[][] = [[]];
  let bytes = 0;
  for (const group of groups) {
    const own = bytesOfHeads(group);
    if (own > most)
      throw new AppError(
        "invalid_option",
        `Expected files that hold the ${own} bytes of "${group[0]!.name}", got at most ${most}`,
      );
    const isFull = parts.at(-1)!.length + group.length > MAX_TENSORS;
    if ((bytes + own > most && bytes > 0) || isFull) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(...group);
    bytes += own;
  }
  if (parts.length === 1) return [{ file: SINGLE_FILE, tensors: parts[0]! }];
  const number = (n: number) => String(n).padStart(5, "0");
  return parts.map((tensors, i) => ({
    file: `model-${number(i + 1)}-of-${number(parts.length)}.safetensors`,
    tensors,
  }));
}

/** Parts that are written as `heads`, each within one file. */
export type PartsOfFile<P> = {
  file: string;
  parts: readonly P[];
  heads: readonly TensorHead<Dtype>[];
};

/**
 * Files as by `shardsOf`; in each, tensors with wide dtypes come first, so that all are aligned, and quantized ones
 * last.
 */
export function partsInFiles<P extends { heads: readonly TensorHead<Dtype>[] }>(
  all: readonly P[],
  most: number,
  isPacked: (part: P) => boolean,
): { files: PartsOfFile<P>[]; index: ReturnType<typeof indexOf> } {
  const byName = new Map(all.map((part) => [part.heads[0]!.name, part]));
  const rank = (part: P) =>
    isPacked(part) ? 0 : -DTYPE_BITS[part.heads[0]!.dtype];
  const cut = shardsOf(
    all.map(({ heads }) => heads),
    most,
  );
  const files = cut.map(({ file, tensors }) => {
    const parts = tensors
      .flatMap(({ name }) => byName.get(name) ?? [])
      .toSorted((a, b) => rank(a) - rank(b));
    return { file, parts, heads: parts.flatMap(({ heads }) => heads) };
  });
  return { files, index: indexOf(cut) };
}

/** `model.safetensors.index.json`; undefined for a single file, which needs none. */
export function indexOf(
  shards: readonly Shard[],
): [file: string, json: string] | undefined {
  if (shards.length === 1) return undefined;
  const heads = shards.flatMap(({ tensors }) => tensors);
  const total_size = bytesOfHeads(heads);
  const weight_map = Object.fromEntries(
    shards.flatMap(({ file, tensors }) =>
      tensors.map(({ name }) => [name, file]),
    ),
  );
  const index = { metadata: { total_size }, weight_map };
  return [INDEX_FILE, `${JSON.stringify(index, null, 2)}\n`];
}
