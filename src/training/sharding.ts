/** How the flat parameter vector is cut: contiguous ranges whose boundaries are whole chunks. */
import type { ShardRange } from "../api/types.ts";
import type { ParameterTable } from "../model/parameters.ts";

/** The unit of boundaries and of squared norms, in elements. */
export const CHUNK_LENGTH = 4096;
/** Parameters, `m` and `v` of a shard take 24 MiB then, and its largest frame 8 MiB. */
export const MAX_SHARD_LENGTH = 2 * 1024 * 1024;
export const MAX_SHARDS = 64;

/** So many shards a run has at least, unless it is told otherwise. */
const DEFAULT_SHARDS = 2;

/** `shards` ranges of nearly equal length that make up the vector. */
export function shardRanges(
  { length }: ParameterTable,
  shards: number,
): ShardRange[] {
  const chunks = Math.ceil(length / CHUNK_LENGTH);
  const boundary = (index: number): number =>
    Math.min(length, Math.floor((index * chunks) / shards) * CHUNK_LENGTH);
  return Array.from({ length: shards }, (_, index) => ({
    index,
    start: boundary(index),
    length: boundary(index + 1) - boundary(index),
  }));
}

/** The most shards that a vector can be cut into. */
export function shardLimit({ length }: ParameterTable): number {
  return Math.min(MAX_SHARDS, Math.ceil(length / CHUNK_LENGTH));
}

export function largestShard(table: ParameterTable, shards: number): number {
  return Math.max(...shardRanges(table, shards).map(({ length }) => length));
}

/** The fewest shards, from two on, that are none too large; undefined when there are none. */
export function defaultShards(table: ParameterTable): number | undefined {
  const most = shardLimit(table);
  for (let n = Math.min(DEFAULT_SHARDS, most); n <= most; n++) {
    if (largestShard(table, n) <= MAX_SHARD_LENGTH) return n;
  }
  return undefined;
}
