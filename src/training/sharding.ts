/** How the flat parameter vector is cut: contiguous ranges whose boundaries are whole chunks. */
import type { ShardRange } from "../api/types.ts";

/** The unit of boundaries and of squared norms, in elements. */
export const CHUNK_LENGTH = 4096;
/** Parameters, `m` and `v` of a shard take 24 MiB then, and its largest frame 8 MiB. */
export const MAX_SHARD_LENGTH = 2 * 1024 * 1024;
export const MAX_SHARDS = 64;

/** `shards` ranges of nearly equal length that make up `[0, length)`. */
export function shardRanges(length: number, shards: number): ShardRange[] {
  const chunks = Math.ceil(length / CHUNK_LENGTH);
  const boundary = (index: number): number =>
    Math.min(length, Math.floor((index * chunks) / shards) * CHUNK_LENGTH);
  return Array.from({ length: shards }, (_, index) => ({
    index,
    start: boundary(index),
    length: boundary(index + 1) - boundary(index),
  }));
}
