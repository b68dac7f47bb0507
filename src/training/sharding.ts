/**
 * Cuts the flat parameter vector into contiguous ranges, at multiples of the chunk length. Boundaries lie between
 * tensors, so that the optimizer has every matrix whole. Only embeddings, which may be larger than a shard, are cut
 * within, between rows.
 */
import type { ShardRange } from "../api/run-status.ts";
import {
  CHUNK_LENGTH,
  type ParameterTable,
  type ParameterTensor,
} from "../model/parameters.ts";

/**
 * Fits a matrix of 768 × 3072. A shard's state is then at most 27 MiB, 18 MiB if every tensor uses Muon, and its
 * largest frame 9 MiB.
 */
export const MAX_SHARD_LENGTH = 768 * 3072;
export const MAX_SHARDS = 64;
/** Minimum number of shards, unless the request says otherwise. */
const DEFAULT_SHARDS = 2;

/** Cuts the vector into `shards` ranges so that the largest is as small as possible. */
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
    // Leave at least one piece for each remaining shard.
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

/** The whole vector as one shard; how it is cut changes no byte. */
export function wholeVector({
  length,
}: Pick<ParameterTable, "length">): ShardRange {
  return { index: 0, start: 0, length };
}

/** The largest number of shards that the vector can be cut into. */
export function shardLimit(table: ParameterTable): number {
  return Math.min(MAX_SHARDS, piecesOf(table).length);
}

export function largestShard(table: ParameterTable, shards: number): number {
  return smallestCapacity(piecesOf(table), shards);
}

/** The smallest number of shards, at least two, that are all within the limit; undefined if there is none. */
export function defaultShards(table: ParameterTable): number | undefined {
  const pieces = piecesOf(table);
  if (Math.max(...pieces) > MAX_SHARD_LENGTH) return undefined;
  const needed = shardsOfAtMost(pieces, MAX_SHARD_LENGTH);
  if (needed > MAX_SHARDS) return undefined;
  return Math.max(needed, Math.min(DEFAULT_SHARDS, pieces.length));
}

/** The first matrix that is larger than a shard may be. */
export function tooLarge({
  tensors,
}: ParameterTable): ParameterTensor | undefined {
  return tensors.find(
    ({ group, length }) => group === "matrix" && length > MAX_SHARD_LENGTH,
  );
}

/** The lengths of the indivisible pieces, in order; they make up the vector. */
function piecesOf({ tensors, length }: ParameterTable): number[] {
  const starts = new Set<number>();
  for (const tensor of tensors) {
    const { group, offset, shape } = tensor;
    if (group === "vector") {
      starts.add(offset); // of consecutive vectors, the first
      break;
    }
    const rows = shape[1] ?? 1;
    const step =
      group === "embedding"
        ? leastCommonMultiple(rows, CHUNK_LENGTH)
        : Infinity;
    // Of two matrices multiplied as one, the second need not start at a whole chunk.
    for (let at = 0; at < tensor.length; at += step)
      if ((offset + at) % CHUNK_LENGTH === 0) starts.add(offset + at);
  }
  const boundaries = [...starts, length];
  return boundaries
    .slice(1)
    .map((boundary, index) => boundary - boundaries[index]!);
}

/** The smallest maximum length with which `shards` ranges make up the vector. */
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

/** The number of ranges of at most `most` elements, each filled greedily. */
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
