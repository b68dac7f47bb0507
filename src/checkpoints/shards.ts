/** The files that a directory's tensors are written to, and the index that names them. */
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

/** One file of the output. */
export type PlannedShard = {
  file: string;
  heads: readonly TensorHead<Dtype>[];
  /** What `conversion` takes, in order. */
  reads: readonly CheckpointTensor[];
  /** What is written, by the tensors of the model that it stands for. */
  groups: readonly { name: string; heads: readonly TensorHead<Dtype>[] }[];
  conversion: (norms: Norms) => Conversion;
};

/** Of all that is written, the heads of files apart. */
export function dataBytes(shards: readonly PlannedShard[]): number {
  return bytesOfHeads(shards.flatMap(({ heads }) => heads));
}

export function bytesOfHeads(heads: readonly TensorHead<Dtype>[]): number {
  return heads.reduce((sum, head) => sum + headBytes(head), 0);
}

export function headBytes({ dtype, shape }: TensorHead<Dtype>): number {
  return dtypeBytes(dtype, elementCount(shape));
}

/** 17 bytes a block: 16 of elements, one of scale. */
export function packedBytes({ shape }: Pick<TensorHead, "shape">): number {
  return (elementCount(shape) / BLOCK_SIZE) * 17;
}

/**
 * Tensors, in their order, in files of at most `most` bytes of them, and of as many as are read again. Those of a
 * group, the parts of one weight, lie in one file. Errors: `invalid_option` where a group alone is larger
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

/** Parts that are written as `heads`, each whole in one file. */
export type PartsOfFile<P> = {
  file: string;
  parts: readonly P[];
  heads: readonly TensorHead<Dtype>[];
};

/**
 * In files as `shardsOf`; within one, wide tensors come first, so that each starts at a multiple of its width, and
 * packed ones last.
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
