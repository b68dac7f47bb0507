import { describe, expect, test } from "vitest";
import { completeShape, modelOf } from "../../src/model/architectures.ts";
import { CHUNK_LENGTH, layOut } from "../../src/model/parameters.ts";
import { MODEL_PRESETS } from "../../src/cli/train/presets.ts";
import {
  defaultShards,
  largestShard,
  MAX_SHARD_LENGTH,
  shardLimit,
  shardRanges,
  tooLarge,
} from "../../src/training/sharding.ts";

const VOCABULARY = { vocabulary: 256 };
const tables = {
  ...Object.fromEntries(
    Object.entries(MODEL_PRESETS).map(([name, shape]) => [
      name,
      modelOf({ ...shape, ...VOCABULARY }).table,
    ]),
  ),
  odd: modelOf({
    layers: 2,
    width: 192,
    heads: 3,
    context: 100,
    vocabulary: 77,
  }).table,
};

describe.each(Object.entries(tables))("%s", (_name, table) => {
  test.each([1, 2, 3, 5, 7, 10, 64])(
    "%i shards cover the vector once and cut no tensor but embeddings, by rows",
    (asked) => {
      const shards = Math.min(asked, shardLimit(table));
      const ranges = shardRanges(table, shards);
      let position = 0;
      for (const [index, range] of ranges.entries()) {
        expect(range.index).toBe(index);
        expect(range.start).toBe(position);
        expect(range.start % CHUNK_LENGTH).toBe(0);
        expect(range.length).toBeGreaterThan(0);
        position += range.length;
        const cut = table.tensors.find(
          ({ offset, length }) =>
            offset < range.start && range.start < offset + length,
        );
        if (!cut) continue;
        expect(cut.group).toBe("embedding");
        expect((range.start - cut.offset) % cut.shape[1]!).toBe(0);
      }
      expect(position).toBe(table.length);
      expect(ranges.length).toBe(shards);
      const largest = Math.max(...ranges.map(({ length }) => length));
      expect(largest).toBe(largestShard(table, shards));
    },
  );

  test("the default is the fewest from two on that are none too large", () => {
    const shards = defaultShards(table)!;
    expect(largestShard(table, shards)).toBeLessThanOrEqual(MAX_SHARD_LENGTH);
    if (shards > 2) {
      expect(largestShard(table, shards - 1)).toBeGreaterThan(MAX_SHARD_LENGTH);
    }
  });
});

test("no cut is more even: the largest shard is the least that there is", () => {
  const initial = { value: 0 };
  const table = layOut(
    [5, 1, 4, 2, 2, 6].map((chunks, index) => ({
      name: `${index}`,
      group: "matrix" as const,
      sideBySide: 1,
      layout: "in-out",
      isJoined: false,
      shape: [chunks, CHUNK_LENGTH],
      initial,
    })),
  );
  const sizes = (shards: number) =>
    shardRanges(table, shards).map(({ length }) => length / CHUNK_LENGTH);
  expect(sizes(2)).toEqual([10, 10]);
  expect(sizes(3)).toEqual([6, 8, 6]);
  expect(sizes(6)).toEqual([5, 1, 4, 2, 2, 6]);
});

test("a GPT of width 768 has shards; a matrix larger than one is named", () => {
  const wide = {
    layers: 12,
    width: 768,
    heads: 12,
    context: 256,
    ...VOCABULARY,
  };
  const shards = defaultShards(modelOf(wide).table)!;
  expect(shards).toBe(37);
  const wider = modelOf({ ...wide, width: 832, heads: 13 }).table;
  expect(tooLarge(wider)?.name).toBe("transformer.h.0.mlp.c_fc.weight");
  expect(defaultShards(wider)).toBe(undefined);
});

test("an embedding may be larger than a shard", () => {
  const { table } = modelOf({
    layers: 1,
    width: 64,
    heads: 1,
    context: 64,
    vocabulary: 100_000,
  });
  expect(tooLarge(table)).toBe(undefined);
  expect(defaultShards(table)).toBe(3);
});

test("matrices that are multiplied as one are cut where whole chunks end, or not at all", () => {
  const sizes = { layers: 2, width: 64, context: 64, vocabulary: 256 };
  // Keys and values of 32 and of 64 channels: half a chunk each, or one.
  for (const heads of [2, 4]) {
    const asked = { ...sizes, arch: "llama", heads, headWidth: 32 } as const;
    const { table } = modelOf(completeShape(asked));
    for (let shards = 1; shards <= shardLimit(table); shards++)
      for (const { start } of shardRanges(table, shards))
        expect(start % CHUNK_LENGTH).toBe(0);
  }
});
