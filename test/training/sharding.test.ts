import { expect, test } from "vitest";
import { CHUNK_LENGTH, shardRanges } from "../../src/training/sharding.ts";

test("shards cover the vector once, at multiples of 4096, nearly evenly", () => {
  for (const length of [4096, 70_464, 842_496, 842_560, 10_000_000]) {
    const chunks = Math.ceil(length / CHUNK_LENGTH);
    for (const shards of [1, 2, 3, 5, 7, 64].filter((n) => n <= chunks)) {
      let position = 0;
      const sizes: number[] = [];
      for (const [index, range] of shardRanges(
        { tensors: [], length },
        shards,
      ).entries()) {
        expect(range.index).toBe(index);
        expect(range.start).toBe(position);
        expect(range.start % CHUNK_LENGTH).toBe(0);
        expect(range.length).toBeGreaterThan(0);
        sizes.push(Math.ceil(range.length / CHUNK_LENGTH));
        position += range.length;
      }
      expect(position).toBe(length);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    }
  }
});
