/**
 * How the flat parameter vector is cut into contiguous ranges. Boundaries lie between tensors, so that an
 * optimizer finds every matrix whole; only embeddings may be cut, by rows, as they may be larger than a
 * shard. All boundaries are whole chunks.
 */
import type { ShardRange } from "../api/run-status.ts";
import {
  CHUNK_LENGTH,
  type ParameterTable,
  type ParameterTensor,
} from "../model/parameters.ts";

/**
 * A matrix of 768 × 3072 fits. A shard's state takes 27 MiB at most then, 18 MiB where all is Muon's, and
 * its largest frame 9 MiB.
 */
export const MAX_SHARD_LENGTH = 768 * 3072;
export const MAX_SHARDS = 64;
/** So many shards a run has at least, unless it is told otherwise. */
const DEFAULT_SHARDS = 2;

/** `shards` ranges that make up the vector, the largest of them as small as it can be. */
export function shardRanges(
  table: ParameterTable,
  shards: number,
): ShardRange[] {
  const pieces = piecesOf(table);
  const most = smallestCapacity(pieces, shards);
  const ranges: ShardRange[] = [];
  let start = 0;
  let length = 0;
  for (const [at, piece] of pieces.entries()) {
    // Each of the shards that are still to come gets a piece at least.
    const areMany = pieces.length - at > shards - 1 - ranges.length;
    if (length > 0 && (length + piece > most || !areMany)) {
      ranges.push({ index: ranges.length, start, length });
      start += length;
      length = 0;
    }
    length += piece;
  }
  ranges.push({ index: ranges.length, start, length });
  return ranges;
}

/** All of the vector as one shard: where it is cut changes no byte. */
export function wholeVector({
  length,
}: Pick<ParameterTable, "length">): ShardRange {
  return { index: 0, start: 0, length };
}

/** The most shards that a vector can be cut into. */
export function shardLimit(table: ParameterTable): number {
  return Math.min(MAX_SHARDS, piecesOf(table).length);
}

export function largestShard(table: ParameterTable, shards: number): number {
  return smallestCapacity(piecesOf(table), shards);
}

/** The fewest shards, from two on, that are none too large; undefined when there are none. */
export function defaultShards(table: ParameterTable): number | undefined {
  const pieces = piecesOf(table);
  if (Math.max(...pieces) > MAX_SHARD_LENGTH) return undefined;
  const needed = shardsOfAtMost(pieces, MAX_SHARD_LENGTH);
  if (needed > MAX_SHARDS) return undefined;
  return Math.max(needed, Math.min(DEFAULT_SHARDS, pieces.length));
}

/** The first tensor that no shard can hold whole. */
export function tooLarge({
  tensors,
}: ParameterTable): ParameterTensor | undefined {
  return tensors.find(
    ({ group, length }) => group === "matrix" && length > MAX_SHARD_LENGTH,
  );
}

/** The lengths of what is not cut, in order; they make up the vector. */
function piecesOf({ tensors, length }: ParameterTable): number[] {
  const starts = new Set<number>();
  for (const tensor of tensors) {
    const { group, offset, shape } = tensor;
    if (group === "vector") {
      starts.add(offset); // of the first; the others stay with it
      break;
    }
    const rows = shape[1] ?? 1;
    const step =
      group === "embedding"
        ? leastCommonMultiple(rows, CHUNK_LENGTH)
        : Infinity;
    // Of two that are multiplied as one, the second may begin anywhere.
    for (let at = 0; at < tensor.length; at += step)
      if ((offset + at) % CHUNK_LENGTH === 0) starts.add(offset + at);
  }
  const boundaries = [...starts, length];
  return boundaries
    .slice(1)
    .map((boundary, index) => boundary - boundaries[index]!);
}

/** The least length at which `shards` ranges can make up the vector. */
function smallestCapacity(pieces: readonly number[], shards: number): number {
  let low = Math.max(...pieces);
  let high = pieces.reduce((sum, piece) => sum + piece, 0);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (shardsOfAtMost(pieces, middle) <= shards) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** How many ranges of at most `most` there are, each as long as it can be. */
function shardsOfAtMost(pieces: readonly number[], most: number): number {
  let shards = 1;
  let length = 0;
  for (const piece of pieces) {
    if (length + piece > most) {
      shards++;
      length = 0;
    }
    length += piece;
  }
  return shards;
}

function leastCommonMultiple(a: number, b: number): number {
  let [divisor, rest] = [a, b];
  while (rest > 0) [divisor, rest] = [rest, divisor % rest];
  return (a / divisor) * b;
}
